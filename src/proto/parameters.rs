//! From a method's name and its parameters' text to a typed call, and to the name of the parameter that is wrong.
//!
//! A call type is an enum with a variant for each method, named as in the .varlink file, that derives `Deserialize` and denies unknown
//! fields. Serde sees the method as the variant's tag and the parameters as its content, without a value tree in between. Only where that
//! fails is the text looked at again, for the name that `org.varlink.service.InvalidParameter` has to carry.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, VariantAccess, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::value::RawValue;

use super::varlink::Empty;

/// Why a call is none of the interface's.
#[derive(Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// The interface has no such method.
    Method,
    /// This parameter is missing, unknown or of a wrong type; `parameters` where no single one is to blame.
    Parameter(String),
}

/// Reads the call of `method` (its name within the interface).
///
/// # Errors
/// See [`Mismatch`].
pub fn decode<C: DeserializeOwned>(method: &str, parameters: Option<&RawValue>) -> Result<C, Mismatch> {
    let parameters = parameters.map_or("{}", RawValue::get);
    C::deserialize(Call { method, parameters })
}

impl Mismatch {
    /// The name given where no single parameter is to blame.
    const WHOLE: &str = "parameters";

    fn whole() -> Self {
        Self::Parameter(Self::WHOLE.into())
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method => f.write_str("no such method"),
            Self::Parameter(name) => write!(f, "wrong parameter {name}"),
        }
    }
}

impl std::error::Error for Mismatch {}

impl de::Error for Mismatch {
    /// Serde has no complaint of its own but about the variant's name: the content's are found in [`named`].
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::Method
    }
}

#[derive(Clone, Copy)]
struct Call<'a> {
    method: &'a str,
    parameters: &'a str,
}

impl<'de> Deserializer<'de> for Call<'de> {
    type Error = Mismatch;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_enum(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct seq
        tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> EnumAccess<'de> for Call<'de> {
    type Error = Mismatch;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Mismatch> {
        Ok((seed.deserialize(self.method.into_deserializer())?, self))
    }
}

impl<'de> VariantAccess<'de> for Call<'de> {
    type Error = Mismatch;

    fn unit_variant(self) -> Result<(), Mismatch> {
        Empty::deserialize(Parameters(self.parameters)).map(|Empty {}| ())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Mismatch> {
        seed.deserialize(Parameters(self.parameters))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Mismatch> {
        Err(Mismatch::whole())
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Mismatch> {
        Parameters(self.parameters).deserialize_struct("", fields, visitor)
    }
}

/// The text of the parameters: valid JSON, which the call's envelope has shown.
struct Parameters<'de>(&'de str);

impl<'de> Deserializer<'de> for Parameters<'de> {
    type Error = Mismatch;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        // Serde would take an array as a struct as well.
        if !self.0.starts_with('{') {
            return Err(Mismatch::whole());
        }
        let mut json = serde_json::Deserializer::from_str(self.0);
        json.deserialize_struct("", fields, visitor).map_err(|error| Mismatch::Parameter(named(self.0, fields, &error)))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Mismatch> {
        Err(Mismatch::whole())
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct seq
        tuple tuple_struct map enum identifier ignored_any
    }
}

/// The parameter that `error` is about.
fn named(text: &str, fields: &[&str], error: &serde_json::Error) -> String {
    let Ok(Members(members)) = serde_json::from_str::<Members>(text) else { return Mismatch::WHOLE.into() };
    let mut seen: Vec<&str> = Vec::new();
    for (name, value) in &members {
        // The error's place is in the value, or at its end.
        let start = value.get().as_ptr().addr() - text.as_ptr().addr();
        let wrong = (start..=start + value.get().len()).contains(&offset(text, error));
        if wrong || !fields.contains(&name.as_ref()) || seen.contains(&name.as_ref()) {
            return name.to_string();
        }
        seen.push(name);
    }
    // None that is there is wrong, so one is missing: serde names it, between backquotes.
    let complaint = error.to_string();
    let missing = fields.iter().find(|field| !seen.contains(field) && complaint.contains(&format!("`{field}`")));
    missing.map_or(Mismatch::WHOLE, |field| *field).into()
}

/// Where in `text` the error was met, in bytes from the start.
fn offset(text: &str, error: &serde_json::Error) -> usize {
    let lines_before = error.line().saturating_sub(1);
    let start = text.split_inclusive('\n').take(lines_before).map(str::len).sum::<usize>();
    start + error.column()
}

/// The members of an object, in the order of the text.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'a> Deserialize<'a> for Members<'a> {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'a> Visitor<'a> for MembersVisitor {
    type Value = Members<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Members<'a>, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry::<Cow<'a, str>, &'a RawValue>()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Eq, Deserialize)]
    #[serde(deny_unknown_fields)]
    enum Call {
        Status,
        Cancel {},
        Wrapped(Wrapped),
        Start { user: String, tries: Option<u8>, groups: Option<Vec<String>>, kind: Option<Kind> },
    }

    #[derive(Debug, PartialEq, Eq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wrapped {
        id: u32,
    }

    #[derive(Debug, PartialEq, Eq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        LocalUser,
    }

    fn call(method: &str, parameters: &str) -> Result<Call, Mismatch> {
        let raw: &RawValue = serde_json::from_str(parameters).unwrap();
        decode(method, Some(raw))
    }

    fn wrong(parameters: &str) -> String {
        match call("Start", parameters) {
            Err(Mismatch::Parameter(name)) => name,
            other => panic!("{parameters} gave {other:?}"),
        }
    }

    #[test]
    fn a_call_is_read_whatever_form_its_method_has() {
        assert_eq!(call("Status", "{}"), Ok(Call::Status));
        assert_eq!(decode("Status", None), Ok(Call::Status));
        assert_eq!(decode("Cancel", None), Ok(Call::Cancel {}));
        assert_eq!(call("Wrapped", r#"{"id":7}"#), Ok(Call::Wrapped(Wrapped { id: 7 })));
        let start = Call::Start { user: "alice".into(), tries: None, groups: None, kind: Some(Kind::LocalUser) };
        assert_eq!(call("Start", r#" {"kind":"local_user", "user":"alice","tries":null} "#), Ok(start));
    }

    #[test]
    fn a_method_that_is_not_there_is_told_from_a_wrong_parameter() {
        for method in ["", "start", "Start ", "Start.", "Stop"] {
            assert_eq!(call(method, "{}"), Err(Mismatch::Method), "{method}");
        }
    }

    #[test]
    fn a_missing_parameter_is_named() {
        assert_eq!(wrong("{}"), "user");
        assert_eq!(wrong(r#"{"tries":3}"#), "user");
        assert_eq!(call("Wrapped", "{}"), Err(Mismatch::Parameter("id".into())));
    }

    #[test]
    fn an_unknown_or_repeated_parameter_is_named() {
        assert_eq!(wrong(r#"{"user":"a","root":true}"#), "root");
        assert_eq!(wrong(r#"{"root":true}"#), "root");
        assert_eq!(wrong(r#"{"user":"a","user":"b"}"#), "user");
        assert_eq!(wrong(r#"{"us\u0065r":"a","\u0072oot":1}"#), "root");
        assert_eq!(call("Status", r#"{"now":1}"#), Err(Mismatch::Parameter("now".into())));
        assert_eq!(call("Cancel", r#"{"now":1}"#), Err(Mismatch::Parameter("now".into())));
    }

    #[test]
    fn a_parameter_of_a_wrong_type_is_named() {
        for (parameters, name) in [
            (r#"{"user":7}"#, "user"),
            (r#"{"user":null,"tries":1}"#, "user"),
            (r#"{"user":{"user":"a"}}"#, "user"),
            (r#"{"tries":"3","user":"a"}"#, "tries"),
            (r#"{"user":"a","tries":-1}"#, "tries"),
            (r#"{"user":"a","tries":256}"#, "tries"),
            (r#"{"user":"a","tries":1.5}"#, "tries"),
            ("{\n\"user\":\"a\",\n\"tries\":\n true}", "tries"),
            (r#"{"groups":["a",3],"user":"a"}"#, "groups"),
            (r#"{"groups":"a","user":"a"}"#, "groups"),
            (r#"{"user":"a","kind":"emperor"}"#, "kind"),
            (r#"{"user":"a","kind":{"local_user":1}}"#, "kind"),
        ] {
            assert_eq!(wrong(parameters), name, "{parameters}");
        }
    }

    #[test]
    fn parameters_that_are_no_object_are_wrong_as_a_whole() {
        for parameters in ["[]", r#"["alice",3,[],"local_user"]"#, "\"alice\"", "7", "true"] {
            assert_eq!(wrong(parameters), "parameters", "{parameters}");
        }
    }
}
