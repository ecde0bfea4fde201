//! A call of any interface is read as what was written, or refused with the name of the parameter that is wrong.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use twostep::proto::parameters::{Mismatch, decode};
use twostep::proto::varlink::{IntrospectionCall, Request};
use twostep::proto::{account, admin, authenticator, login, recovery};

const SERVICE: &str = include_str!("../../src/proto/org.varlink.service.varlink");

type Read = fn(&str, Option<&RawValue>) -> Result<Value, Mismatch>;

/// Name, description and calls of each interface.
const INTERFACES: [(&str, &str, Read); 6] = [
    (login::NAME, login::DESCRIPTION, read::<login::Call>),
    (account::NAME, account::DESCRIPTION, read::<account::Call>),
    (admin::NAME, admin::DESCRIPTION, read::<admin::Call>),
    (authenticator::NAME, authenticator::DESCRIPTION, read::<authenticator::Call>),
    (recovery::NAME, recovery::DESCRIPTION, read::<recovery::Call>),
    ("org.varlink.service", SERVICE, read::<IntrospectionCall>),
];

/// A call, and its parameters written again.
fn read<C: DeserializeOwned + Serialize>(method: &str, parameters: Option<&RawValue>) -> Result<Value, Mismatch> {
    decode::<C>(method, parameters).map(|call| match serde_json::to_value(call) {
        Ok(Value::Object(mut tagged)) => tagged.remove(method).expect("a call is tagged with its method"),
        other => panic!("{other:?} is no call"),
    })
}

/// The input is one frame.
pub fn check(input: &[u8]) {
    let Some(request) = str::from_utf8(input).ok().and_then(Request::read) else { return };
    let Some((interface, method)) = request.method.rsplit_once('.') else { return };
    let Some((_, description, read)) = INTERFACES.iter().find(|(name, ..)| *name == interface) else { return };
    let inputs = inputs(description, method);
    match read(method, request.parameters) {
        Ok(call) => {
            let text = request.parameters.map_or("{}", RawValue::get);
            let given: Value = serde_json::from_str(text).expect("what was read is JSON");
            assert_eq!(without_nulls(&call), without_nulls(&given), "{method} was read as something else");
            one_more_is_refused(method, &given, *read);
        }
        Err(Mismatch::Method) => assert!(inputs.is_none(), "{method} is described, but not there"),
        Err(Mismatch::Parameter(name)) => {
            let inputs = inputs.unwrap_or_else(|| panic!("{method} is there, but not described"));
            is_to_blame(&name, &inputs, request.parameters.map_or("{}", RawValue::get));
        }
    }
}

/// An absent member and a null are the same.
fn without_nulls(value: &Value) -> Map<String, Value> {
    let members = value.as_object().expect("parameters are an object").clone();
    members.into_iter().filter(|(_, value)| !value.is_null()).collect()
}

fn one_more_is_refused(method: &str, given: &Value, read: Read) {
    let mut more = given.clone();
    more["no_such_parameter"] = Value::Bool(true);
    let raw = serde_json::value::to_raw_value(&more).expect("a value can be written");
    assert_eq!(read(method, Some(&raw)), Err(Mismatch::Parameter("no_such_parameter".into())), "{method} {given}");
}

/// The name is that of a member which is there, or of one that is wanted and missing; parameters that are no object are wrong as a whole.
fn is_to_blame(name: &str, inputs: &[(String, bool)], text: &str) {
    let Ok(members) = serde_json::from_str::<Map<String, Value>>(text) else {
        // Half of a surrogate pair can't be told apart from no object here; a name is given all the same.
        return assert!(!name.is_empty());
    };
    let missing = inputs.iter().any(|(input, required)| *required && input == name && !members.contains_key(name));
    assert!(missing || members.contains_key(name), "{name} is neither in {text} nor missing");
}

/// The parameters of a described method, and whether each is required; none where there is no such method.
fn inputs(description: &str, method: &str) -> Option<Vec<(String, bool)>> {
    let lines = description.split("\nmethod ").skip(1);
    let signature = lines.filter_map(|text| text.split_once('(')).find(|(name, _)| *name == method)?.1;
    let (mut depth, mut list) = (0, vec![String::new()]);
    for letter in signature.chars() {
        match letter {
            ')' if depth == 0 => break,
            ',' if depth == 0 => {
                list.push(String::new());
                continue;
            }
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if let Some(last) = list.last_mut() {
            last.push(letter);
        }
    }
    let split = list.iter().filter_map(|input| input.split_once(':'));
    Some(split.map(|(name, ty)| (name.trim().to_owned(), !ty.trim_start().starts_with('?'))).collect())
}
