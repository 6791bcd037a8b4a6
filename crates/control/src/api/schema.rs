//! What OpenAPI cannot know of types that are not ours: for `#[schema(value_type = ..)]`.

use std::borrow::Cow;

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr, Schema,
        schema::{ObjectBuilder, Type},
    },
};

pub use ipvsadm::schema::Address;

/// A [`SocketAddr`](std::net::SocketAddr).
#[derive(Debug, Clone, Copy)]
pub struct Place;

impl PartialSchema for Place {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some("An address and a port; an IPv6 address in brackets."))
            .examples(["203.0.113.10:80", "[2001:db8::10]:80"])
            .into()
    }
}

impl ToSchema for Place {
    fn name() -> Cow<'static, str> {
        "Place".into()
    }
}
