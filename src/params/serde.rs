//! Reading and writing [`CacheConfig`] and [`Value`] by serde, in any of its formats.

use std::collections::BTreeMap;
use std::fmt;

use ::serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
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
        while let Some(name) = map.next_key::<String>()? {
            if seen.contains(&name) {
                return Err(A::Error::custom(format_args!("{name} is given twice")));
            }
            let setting = map.next_value()?;
            config.put(&name, setting).map_err(A::Error::custom)?;
            seen.push(name);
        }
        config.check().map_err(A::Error::custom)?;
        Ok(config)
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
