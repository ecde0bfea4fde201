//! Types and .varlink files say the same: every call, reply and error that the files describe, with every value of every enum and without
//! every optional member, goes through the types unchanged; and no call is taken with a member more, or a required one less.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use zlink::idl::{Interface, Type};

use super::parameters::{Mismatch, decode};
use super::varlink::Empty;
use super::{account, admin, authenticator, login};

/// Objects of one shape: the first has all members, the others differ from it in one.
fn objects<'a>(interface: &Interface<'_>, members: impl Iterator<Item = (String, &'a Type<'a>)>) -> Vec<Value> {
    let members: Vec<(String, Vec<Option<Value>>)> = members.map(|(name, ty)| (name, values(interface, ty))).collect();
    let full: Map<String, Value> = members.iter().filter_map(|(name, values)| Some((name.clone(), values[0].clone()?))).collect();
    let mut all = vec![Value::Object(full.clone())];
    for (name, values) in &members {
        for value in &values[1..] {
            let mut other = full.clone();
            match value {
                Some(value) => drop(other.insert(name.clone(), value.clone())),
                None => drop(other.remove(name)),
            }
            all.push(Value::Object(other));
        }
    }
    all
}

/// Values of a type; `None` is absence. The first is not absent.
fn values(interface: &Interface<'_>, ty: &Type<'_>) -> Vec<Option<Value>> {
    let some = |values: Vec<Value>| values.into_iter().map(Some).collect();
    match ty {
        Type::Bool => some(vec![json!(true), json!(false)]),
        Type::Int => some(vec![json!(7)]),
        Type::String => some(vec![json!("text")]),
        Type::Optional(inner) => values(interface, inner.inner()).into_iter().chain([None]).collect(),
        Type::Array(inner) => {
            let elements: Vec<Value> = values(interface, inner.inner()).into_iter().flatten().collect();
            some(vec![Value::Array(elements), json!([])])
        }
        Type::Enum(variants) => some(variants.iter().map(|variant| json!(variant.name().to_string())).collect()),
        Type::Object(fields) => some(objects(interface, fields.iter().map(|field| (field.name().to_string(), field.ty())))),
        Type::Custom(name) => {
            let custom = interface.custom_types().find(|custom| custom.name() == name).unwrap();
            match (custom.as_object(), custom.as_enum()) {
                (Some(object), _) => some(objects(interface, object.fields().map(|field| (field.name().to_string(), field.ty())))),
                (_, Some(named)) => some(named.variants().map(|variant| json!(variant.name().to_string())).collect()),
                (None, None) => panic!("{name} is neither"),
            }
        }
        Type::Float | Type::ForeignObject | Type::Any | Type::Map(_) => panic!("{ty:?} is in none of our interfaces"),
    }
}

fn through<T: Serialize + DeserializeOwned>(value: Value) -> Result<Value, String> {
    let typed: T = serde_json::from_value(value).map_err(|error| error.to_string())?;
    Ok(serde_json::to_value(typed).unwrap())
}

fn read<C: DeserializeOwned>(method: &str, parameters: &Value) -> Result<C, Mismatch> {
    let raw: Box<RawValue> = serde_json::value::to_raw_value(parameters).unwrap();
    decode(method, Some(&raw))
}

type Through = fn(Value) -> Result<Value, String>;

/// Checks one interface; `kind` is a call's name in the policy, `replies` has the type of each method's reply.
fn agree<C: DeserializeOwned, E: Serialize + DeserializeOwned>(description: &str, kind: fn(&C) -> String, replies: &[(&str, Through)]) {
    let interface = Interface::try_from(description).unwrap();
    let methods: Vec<String> = interface.methods().map(|method| method.name().to_string()).collect();
    assert_eq!(methods, replies.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    for (method, (name, reply)) in interface.methods().zip(replies) {
        let inputs: Vec<_> = method.inputs().map(|input| (input.name().to_string(), input.ty())).collect();
        let calls = objects(&interface, inputs.iter().cloned());
        for call in &calls {
            assert_eq!(read::<C>(name, call).as_ref().map(kind), Ok((*name).into()), "{name} {call}");
        }
        let full = calls[0].as_object().unwrap();
        for (input, ty) in &inputs {
            let mut without = full.clone();
            without.remove(input);
            let missing = read::<C>(name, &Value::Object(without)).err();
            let expected = ty.as_optional().is_none().then(|| Mismatch::Parameter(input.clone()));
            assert_eq!(missing, expected, "{name} without {input}");
            let mut wrong = full.clone();
            wrong.insert(input.clone(), json!({ "no": "such type" }));
            assert_eq!(read::<C>(name, &Value::Object(wrong)).err(), Some(Mismatch::Parameter(input.clone())), "{name}");
        }
        let mut more = full.clone();
        more.insert("surplus".into(), json!(1));
        assert_eq!(read::<C>(name, &Value::Object(more)).err(), Some(Mismatch::Parameter("surplus".into())), "{name}");
        for value in objects(&interface, method.outputs().map(|output| (output.name().to_string(), output.ty()))) {
            assert_eq!(reply(value.clone()), Ok(value), "the reply to {name}");
        }
    }
    assert_eq!(read::<C>("NoSuchMethod", &json!({})).err(), Some(Mismatch::Method));
    for error in interface.errors() {
        let tag = format!("{}.{}", interface.name(), error.name());
        for parameters in objects(&interface, error.fields().map(|field| (field.name().to_string(), field.ty()))) {
            let value = json!({ "error": tag, "parameters": parameters });
            assert_eq!(through::<E>(value.clone()), Ok(value));
        }
    }
}

#[test]
fn login_agrees_with_its_file() {
    agree::<login::Call, login::Error>(
        login::DESCRIPTION,
        |call| format!("{:?}", call.kind()),
        &[
            ("Start", through::<login::Started>),
            ("Challenge", through::<login::Challenge>),
            ("Answer", through::<login::Answered>),
            ("Wait", through::<login::Waited>),
            ("TrustDevice", through::<login::Trusted>),
            ("Cancel", through::<Empty>),
        ],
    );
}

#[test]
fn account_agrees_with_its_file() {
    agree::<account::Call, account::Error>(
        account::DESCRIPTION,
        |call| format!("{:?}", call.kind()),
        &[
            ("Status", through::<account::AccountStatus>),
            ("BeginSetup", through::<account::Begun>),
            ("BeginChange", through::<account::Begun>),
            ("SetupStatus", through::<account::SetupStatus>),
            ("ConfirmRecoveryEmail", through::<account::Confirmed>),
            ("OfferSecurityCode", through::<account::SecurityCode>),
            ("ConfirmSecurityCode", through::<account::Confirmed>),
            ("OfferPairing", through::<account::Pairing>),
            ("WaitPairing", through::<account::PairingState>),
            ("ConfirmOnlineCode", through::<account::Confirmed>),
            ("FinishSetup", through::<account::Finished>),
            ("CancelSetup", through::<Empty>),
            ("EnableMethod", through::<Empty>),
            ("DisableMethod", through::<Empty>),
            ("SetPreferred", through::<Empty>),
            ("SetRecoveryEmail", through::<account::Setting>),
            ("RegenerateRecoveryCodes", through::<account::RecoveryCodes>),
            ("RemoveAuthenticator", through::<Empty>),
            ("RemoveTrustedDevice", through::<Empty>),
            ("SetPasswordless", through::<Empty>),
            ("Disable", through::<Empty>),
            ("ExportSecurityCode", through::<account::SecurityCode>),
        ],
    );
}

#[test]
fn admin_agrees_with_its_file() {
    agree::<admin::Call, admin::Error>(
        admin::DESCRIPTION,
        |call| format!("{:?}", call.kind()),
        &[
            ("List", through::<admin::Subjects>),
            ("Enforce", through::<admin::Changed>),
            ("DisableFor", through::<Empty>),
            ("Unlock", through::<Empty>),
            ("Delegate", through::<Empty>),
            ("ListDelegations", through::<admin::Delegations>),
            ("Audit", through::<admin::Entries>),
            ("Backup", through::<admin::Backup>),
            ("Restore", through::<Empty>),
            ("Import", through::<Empty>),
            ("ListBackups", through::<admin::Backups>),
            ("StartAnew", through::<admin::StartedAnew>),
        ],
    );
}

#[test]
fn authenticator_agrees_with_its_file() {
    agree::<authenticator::Call, authenticator::Error>(
        authenticator::DESCRIPTION,
        |call| format!("{call:?}").split(' ').next().unwrap().to_owned(),
        &[
            ("Pair", through::<authenticator::Paired>),
            ("ConfirmPairing", through::<authenticator::PairingConfirmed>),
            ("Nonce", through::<authenticator::Nonce>),
            ("Pending", through::<authenticator::Requests>),
            ("Scan", through::<authenticator::Scanned>),
            ("Decide", through::<authenticator::Decided>),
            ("OnlineCode", through::<authenticator::OnlineCode>),
            ("Unpair", through::<Empty>),
            ("Carry", through::<authenticator::Carrying>),
        ],
    );
}

#[test]
fn nothing_secret_in_a_call_is_printed() {
    let call: account::Call = read("FinishSetup", &json!({ "setup": "name-of-setup", "password": "wonderland" })).unwrap();
    let answer: login::Call = read("Answer", &json!({ "login": "name-of-login", "method": "security_code", "code": "123456" })).unwrap();
    let import: admin::Call = read("Import", &json!({ "user": "alice", "text": "otpauth://totp/x?secret=AAAA" })).unwrap();
    let printed = format!("{call:?} {answer:?} {import:?}");
    for secret in ["name-of", "wonderland", "123456", "AAAA"] {
        assert!(!printed.contains(secret), "{printed}");
    }
}
