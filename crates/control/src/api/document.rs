//! The OpenAPI document: made of the parts' descriptions, and who may what is read from it.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use axum::{
    extract::State,
    http::{Method, header},
    response::{IntoResponse, Response},
};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        ComponentsBuilder, Content, InfoBuilder, OpenApi, PathItem, Ref, Response as Described,
        ResponseBuilder, ServerBuilder,
        path::Operation,
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Part, Refusal, role::Role};

/// The name of the tokens' scheme in descriptions: `security(("token" = ["operator"]))`.
const TOKEN: &str = "token";

/// Where the document is, once it is whole.
pub(super) type Whole = Arc<OnceLock<String>>;

/// `GET /v1/openapi.json`.
pub(super) fn part(whole: Whole) -> Part {
    OpenApiRouter::new().routes(routes!(openapi)).with_state(whole)
}

/// This document: every path, who may use it, and the shapes that go in and out.
#[utoipa::path(
    get,
    path = "/v1/openapi.json",
    tag = "director",
    responses((status = 200, description = "OpenAPI 3.1", body = Object))
)]
async fn openapi(State(whole): State<Whole>) -> Response {
    let text = whole.get().cloned().unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// Completes the document: what it is of, what every path may refuse, who may what.
pub(super) fn complete(document: &mut OpenApi) {
    document.info = InfoBuilder::new()
        .title("xlvs")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "The API of an xlvs director. On its unix socket everybody who may open it is admin; \
             on TCP a token says who asks. Fields may be added within a version; a client ignores \
             those that it does not know.",
        ))
        .build();
    document.servers = Some(vec![ServerBuilder::new().url("/").build()]);
    let mut components = document.components.take().unwrap_or_default();
    let mut schemas = vec![(Refusal::name().into_owned(), Refusal::schema())];
    Refusal::schemas(&mut schemas);
    components.schemas.extend(schemas);
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(
            "A token that `xlvs token add` made. A role may do what those before it may: viewer, \
             operator, admin. None is needed on the unix socket.",
        ))
        .build();
    let mut built = ComponentsBuilder::new().security_scheme(TOKEN, SecurityScheme::Http(bearer));
    for (name, schema) in components.schemas {
        built = built.schema(name, schema);
    }
    document.components = Some(built.build());
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations_mut(item) {
            let role = role(&method, operation);
            assert_is_documented(path, operation);
            operation.security = Some(vec![SecurityRequirement::new(TOKEN, [role.name()])]);
            let responses = &mut operation.responses.responses;
            responses.insert("default".to_owned(), refused().into());
        }
    }
}

/// An endpoint without a sentence is a slip of whoever wrote it.
fn assert_is_documented(path: &str, operation: &Operation) {
    debug_assert!(operation.summary.is_some(), "{path}: give its function a docstring");
}

/// Two types of one name are one shape in the document: the later one's.
pub(super) fn assert_no_shape_is_lost(all: &OpenApi, part: &OpenApi) {
    let shapes = |of: &OpenApi| of.components.clone().unwrap_or_default().schemas;
    let known = shapes(all);
    for (name, shape) in shapes(part) {
        let same = known.get(&name).is_none_or(|known| *known == shape);
        debug_assert!(
            same,
            "two types {name}: give one of them another name by #[schema(as = ..)]"
        );
    }
}

fn refused() -> Described {
    let shape = Ref::from_schema_name(Refusal::name());
    ResponseBuilder::new()
        .description("Not done, and why.")
        .content("application/json", Content::new(Some(shape)))
        .build()
}

/// Who may use each path, by its pattern and method.
#[derive(Debug, Default)]
pub(super) struct Roles(HashMap<(String, Method), Role>);

impl Roles {
    /// Those of a completed document.
    pub(super) fn of(document: &mut OpenApi) -> Self {
        let mut roles = HashMap::new();
        for (path, item) in &mut document.paths.paths {
            for (method, operation) in operations_mut(item) {
                roles.insert((path.clone(), method.clone()), role(&method, operation));
            }
        }
        Self(roles)
    }

    /// The least role for this path and method. What is not described is admin's.
    pub(super) fn needed(&self, path: &str, method: &Method) -> Role {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        self.0.get(&(path.to_owned(), method.clone())).copied().unwrap_or(Role::Admin)
    }
}

/// What the description says; else viewers read and only admin changes.
fn role(method: &Method, operation: &Operation) -> Role {
    let said = serde_json::to_value(&operation.security).unwrap_or_default();
    let said = said.pointer(&format!("/0/{TOKEN}/0")).and_then(|role| role.as_str());
    match said.map(Role::named) {
        Some(role) => role.unwrap_or(Role::Admin),
        None if method == Method::GET => Role::Viewer,
        None => Role::Admin,
    }
}

fn operations_mut(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    [
        (Method::GET, item.get.as_mut()),
        (Method::PUT, item.put.as_mut()),
        (Method::POST, item.post.as_mut()),
        (Method::DELETE, item.delete.as_mut()),
        (Method::PATCH, item.patch.as_mut()),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation?)))
}
