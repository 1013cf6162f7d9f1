//! Reading and writing [`CacheConfig`] and [`Value`] by serde, in any of its formats.
//!
//! Names and values are judged while they are read, one by one: so a format that knows lines names the right one.

use std::collections::BTreeMap;
use std::fmt;

use ::serde::de::{Deserialize, DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
use ::serde::ser::{Serialize, SerializeMap, Serializer};

use super::config::CacheConfig;
use super::fields::{self, Setting};
use super::value::Value;

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Integer(number) => serializer.serialize_i64(*number),
            Value::Float(number) => serializer.serialize_f64(*number),
            Value::Boolean(flag) => serializer.serialize_bool(*flag),
            Value::String(text) => serializer.serialize_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let setting = Setting::deserialize(deserializer)?;
        value_of(setting).ok_or_else(|| D::Error::custom("a number, true or false, or text is expected"))
    }
}

fn value_of(setting: Setting) -> Option<Value> {
    match setting {
        Setting::Flag(flag) => Some(Value::Boolean(flag)),
        Setting::Integer(number) => i64::try_from(number).ok().map(Value::Integer),
        Setting::Float(number) => Some(Value::Float(number)),
        Setting::Text(text) => Some(Value::from(text)),
        Setting::Nothing | Setting::Table(_) => None,
    }
}

impl<'de> Deserialize<'de> for Setting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SettingVisitor)
    }
}

struct SettingVisitor;

impl<'de> Visitor<'de> for SettingVisitor {
    type Value = Setting;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, true or false, text, or a table of these")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Setting, E> {
        Ok(Setting::Flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Setting, E> {
        Ok(Setting::Integer(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Setting, E> {
        Ok(Setting::Integer(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Setting, E> {
        Ok(Setting::Float(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Setting, E> {
        Ok(Setting::Text(text.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Setting, E> {
        Ok(Setting::Nothing)
    }

    fn visit_none<E>(self) -> Result<Setting, E> {
        Ok(Setting::Nothing)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Setting, D::Error> {
        Setting::deserialize(deserializer)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Setting, A::Error> {
        let mut table = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<String, Value>()? {
            if table.insert(name.clone(), value).is_some() {
                return Err(A::Error::custom(format_args!("{name} is given twice")));
            }
        }
        Ok(Setting::Table(table))
    }
}

impl<'de> Deserialize<'de> for CacheConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ConfigVisitor)
    }
}

struct ConfigVisitor;

impl<'de> Visitor<'de> for ConfigVisitor {
    type Value = CacheConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the settings of a cache, by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<CacheConfig, A::Error> {
        let mut config = CacheConfig::default();
        let mut seen = Vec::new();
        while let Some(name) = map.next_key_seed(FieldName { seen: &seen })? {
            if name == PARAMETERS {
                map.next_value_seed(Parameters { config: &mut config })?;
            } else {
                map.next_value_seed(FieldValue { config: &mut config, name })?;
            }
            seen.push(name);
        }
        config.check().map_err(A::Error::custom)?;
        Ok(config)
    }
}

/// The field that has the parameters.
const PARAMETERS: &str = "parameters";

/// The name of a field, which was not seen before.
struct FieldName<'a> {
    seen: &'a [&'static str],
}

impl<'de> DeserializeSeed<'de> for FieldName<'_> {
    type Value = &'static str;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<&'static str, D::Error> {
        let name = String::deserialize(deserializer)?;
        let field = fields::find(&name).ok_or_else(|| D::Error::custom(CacheConfig::unknown(&name)))?;
        if self.seen.contains(&field.name) {
            return Err(D::Error::custom(CacheConfig::given_twice(&name)));
        }
        Ok(field.name)
    }
}

/// The value of a field, which is put into a configuration.
struct FieldValue<'a> {
    config: &'a mut CacheConfig,
    name: &'static str,
}

impl<'de> DeserializeSeed<'de> for FieldValue<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let setting = Setting::deserialize(deserializer)?;
        self.config.put(self.name, setting).map_err(D::Error::custom)?;
        if matches!(self.name, "family" | "version" | "node_type") {
            self.config.check_if_known().map_err(D::Error::custom)?;
        }
        Ok(())
    }
}

/// The parameters, each of which is judged as it comes, if the family is known by then.
struct Parameters<'a> {
    config: &'a mut CacheConfig,
}

impl<'de> DeserializeSeed<'de> for Parameters<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Parameters<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of parameters")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.deserialize(deserializer)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key_seed(ParameterName { config: self.config })? {
            map.next_value_seed(ParameterValue { config: self.config, name })?;
        }
        Ok(())
    }
}

/// The name of a parameter that was not given before.
struct ParameterName<'a> {
    config: &'a CacheConfig,
}

impl<'de> DeserializeSeed<'de> for ParameterName<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        let name = String::deserialize(deserializer)?;
        self.config.check_parameter_name(&name).map_err(D::Error::custom)?;
        Ok(name)
    }
}

/// Its value, which is put into the configuration.
struct ParameterValue<'a> {
    config: &'a mut CacheConfig,
    name: String,
}

impl<'de> DeserializeSeed<'de> for ParameterValue<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let value = Value::deserialize(deserializer)?;
        self.config.parameters.insert(self.name, value);
        self.config.check_if_known().map_err(D::Error::custom)
    }
}

impl Serialize for CacheConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        // In the order of the fields; the table comes last, as TOML wants it.
        for (name, setting) in fields::ALL.iter().filter_map(|field| Some((field.name, (field.get)(self)?))) {
            match setting {
                Setting::Table(table) => map.serialize_entry(name, &table)?,
                Setting::Integer(number) => match i64::try_from(number) {
                    Ok(number) => map.serialize_entry(name, &number)?,
                    // Few formats have whole numbers beyond 64 bits with a sign.
                    Err(_) => map.serialize_entry(name, &number.to_string())?,
                },
                other => match value_of(other) {
                    Some(value) => map.serialize_entry(name, &value)?,
                    None => continue,
                },
            }
        }
        map.end()
    }
}
