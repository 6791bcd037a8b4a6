//! What OpenAPI cannot know of types that are not ours.

use std::borrow::Cow;

use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr, Schema,
        schema::{KnownFormat, ObjectBuilder, OneOfBuilder, SchemaFormat, Type},
    },
};

/// An [`IpAddr`](std::net::IpAddr).
#[derive(Debug, Clone, Copy)]
pub struct Address;

impl PartialSchema for Address {
    fn schema() -> RefOr<Schema> {
        let text = |format, example: &str| {
            ObjectBuilder::new()
                .schema_type(Type::String)
                .format(Some(SchemaFormat::KnownFormat(format)))
                .examples([example])
        };
        OneOfBuilder::new()
            .description(Some("An IPv4 or an IPv6 address."))
            .item(text(KnownFormat::Ipv4, "203.0.113.10"))
            .item(text(KnownFormat::Ipv6, "2001:db8::10"))
            .into()
    }
}

impl ToSchema for Address {
    fn name() -> Cow<'static, str> {
        "Address".into()
    }
}
