//! The fields of [`CacheConfig`]: how each is read from what a file says, written, and told to a builder.
//!
//! 1. There is a row for each field, in the order of the documentation.
//! 2. What is written is read back as the same.

use std::collections::BTreeMap;

use super::config::CacheConfig;
use super::nearest::{hint, shown};
use super::value::Value;
use crate::api::CacheBuilder;

/// When a log is rewritten, if nothing else is said: the percentage, and the least size.
const REWRITE: (u64, u64) = (100, 64 << 20);

/// A value as a file has it.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Setting {
    /// As if the field were not there.
    Nothing,
    Flag(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    Table(BTreeMap<String, Value>),
}

impl Setting {
    fn refuse<T>(&self, wanted: &str) -> Result<T, String> {
        Err(match self {
            Setting::Nothing => format!("there is nothing, where {wanted} is expected"),
            Setting::Flag(flag) => format!("{flag} is not {wanted}"),
            Setting::Integer(number) => format!("{number} is not {wanted}"),
            Setting::Float(number) => format!("{number} is not {wanted}"),
            Setting::Text(text) => format!("{:?} is not {wanted}", shown(text)),
            Setting::Table(_) => format!("a table is not {wanted}"),
        })
    }
}

/// One field.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) get: fn(&CacheConfig) -> Option<Setting>,
    pub(super) set: fn(&mut CacheConfig, Setting) -> Result<(), String>,
    pub(super) build: fn(CacheBuilder, &CacheConfig) -> CacheBuilder,
}

/// The row of a field that is a builder's method too; how it is read and shown, a module below says.
macro_rules! field {
    ($name:ident, $kind:ident) => {
        field!($name, $kind, |builder, config| match config.$name.clone() {
            Some(value) => builder.$name(value),
            None => builder,
        })
    };
    ($name:ident, $kind:ident, $build:expr) => {
        Field {
            name: stringify!($name),
            get: |config| config.$name.as_ref().map($kind::show),
            set: |config, setting| {
                config.$name = if setting == Setting::Nothing { None } else { Some($kind::read(&setting)?) };
                Ok(())
            },
            build: $build,
        }
    };
}

pub(super) static ALL: &[Field] = &[
    field!(name, text),
    field!(max_memory, size),
    field!(reserved_memory, size),
    field!(policy, policy),
    field!(objective, objective),
    field!(samples, count),
    field!(time_to_live, duration),
    field!(time_to_idle, duration),
    field!(max_item_size, size),
    field!(chunk_size, size),
    field!(chunk_size_growth_factor, number),
    field!(page_size, size),
    field!(shards, count),
    field!(threads, count),
    field!(address_space, size),
    field!(initial_items, count),
    field!(background_resizing, flag),
    field!(huge_pages, flag),
    field!(lock_memory, flag),
    field!(automove, automove),
    field!(slab_reassign, flag),
    field!(tokens, flag),
    field!(check_and_set, flag),
    field!(namespaces, count),
    field!(seed, count),
    field!(maintenance, maintenance),
    field!(expiry_cpu_share, number),
    field!(expiry_lag, duration),
    field!(miss_ratio_curve, size),
    field!(log_folder, text),
    field!(log_rewrite_percentage, count, |builder, config| match config.log_rewrite_percentage {
        Some(percentage) => builder.wish(|wishes| {
            let (_, min_size) = wishes.rewrite.unwrap_or(REWRITE);
            wishes.rewrite = Some((percentage, min_size));
        }),
        None => builder,
    }),
    field!(log_rewrite_min_size, size, |builder, config| match config.log_rewrite_min_size {
        Some(min_size) => builder.wish(|wishes| {
            let (percentage, _) = wishes.rewrite.unwrap_or(REWRITE);
            wishes.rewrite = Some((percentage, min_size));
        }),
        None => builder,
    }),
    field!(family, family, |builder, _| builder),
    field!(version, version, |builder, _| builder),
    field!(node_type, node_type, |builder, _| builder),
    Field {
        name: "parameters",
        get: |config| (!config.parameters.is_empty()).then(|| Setting::Table(config.parameters.clone())),
        set: |config, setting| match setting {
            Setting::Nothing => Ok(()),
            Setting::Table(table) => {
                config.parameters.extend(table);
                Ok(())
            }
            other => other.refuse("a table of parameters"),
        },
        build: |builder, _| builder,
    },
];

/// The field of this name.
pub(super) fn find(name: &str) -> Option<&'static Field> {
    ALL.iter().find(|field| field.name == name)
}

/// The names of all fields.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|field| field.name)
}

mod text {
    use super::Setting;

    pub(super) fn read(setting: &Setting) -> Result<String, String> {
        if let Setting::Text(text) = setting { Ok(text.clone()) } else { setting.refuse("text") }
    }

    #[expect(clippy::ptr_arg, reason = "what the field is")]
    pub(super) fn show(text: &String) -> Setting {
        Setting::Text(text.clone())
    }
}

mod flag {
    use super::Setting;

    pub(super) fn read(setting: &Setting) -> Result<bool, String> {
        match setting {
            Setting::Flag(flag) => Ok(*flag),
            Setting::Text(text) => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" => Ok(true),
                "false" | "no" | "off" => Ok(false),
                _ => setting.refuse("true or false"),
            },
            _ => setting.refuse("true or false"),
        }
    }

    pub(super) fn show(flag: &bool) -> Setting {
        Setting::Flag(*flag)
    }
}

mod number {
    use super::Setting;

    pub(super) fn read(setting: &Setting) -> Result<f64, String> {
        match setting {
            Setting::Float(number) => Ok(*number),
            Setting::Integer(number) => Ok(*number as f64),
            Setting::Text(text) => text.trim().parse().or_else(|_| setting.refuse("a number")),
            _ => setting.refuse("a number"),
        }
    }

    pub(super) fn show(number: &f64) -> Setting {
        Setting::Float(*number)
    }
}

mod count {
    use super::Setting;

    pub(super) fn read<T: TryFrom<i128>>(setting: &Setting) -> Result<T, String> {
        let number = match setting {
            Setting::Integer(number) => Some(*number),
            Setting::Text(text) => text.trim().replace('_', "").parse().ok(),
            _ => None,
        };
        number.and_then(|number| T::try_from(number).ok()).map_or_else(|| setting.refuse("a number in range"), Ok)
    }

    pub(super) fn show<T: Copy + Into128>(number: &T) -> Setting {
        Setting::Integer(number.into_128())
    }

    /// What `usize` lacks of `Into<i128>`.
    pub(super) trait Into128 {
        fn into_128(self) -> i128;
    }

    impl Into128 for usize {
        fn into_128(self) -> i128 {
            self as i128
        }
    }

    impl Into128 for u64 {
        fn into_128(self) -> i128 {
            self.into()
        }
    }

    impl Into128 for u32 {
        fn into_128(self) -> i128 {
            self.into()
        }
    }

    impl Into128 for u16 {
        fn into_128(self) -> i128 {
            self.into()
        }
    }
}

mod size {
    use super::Setting;
    use crate::params::units::{parse_size, show_size};

    pub(super) fn read<T: TryFrom<u64>>(setting: &Setting) -> Result<T, String> {
        let bytes = match setting {
            Setting::Integer(number) => u64::try_from(*number).ok(),
            Setting::Text(text) => Some(parse_size(text)?),
            _ => None,
        };
        let bytes = bytes.and_then(|bytes| T::try_from(bytes).ok());
        bytes.map_or_else(|| setting.refuse("a size: a number of bytes, or text such as \"64MiB\""), Ok)
    }

    pub(super) fn show<T: Copy + TryInto<u64>>(bytes: &T) -> Setting {
        Setting::Text(show_size((*bytes).try_into().unwrap_or(u64::MAX)))
    }
}

mod duration {
    use std::time::Duration;

    use super::Setting;
    use crate::params::units::{parse_duration, seconds, show_duration};

    pub(super) fn read(setting: &Setting) -> Result<Duration, String> {
        let found = match setting {
            Setting::Integer(number) => u64::try_from(*number).ok().map(Duration::from_secs),
            Setting::Float(number) => seconds(*number),
            Setting::Text(text) => Some(parse_duration(text)?),
            _ => None,
        };
        found.map_or_else(|| setting.refuse("a duration: a number of seconds, or text such as \"30s\""), Ok)
    }

    pub(super) fn show(duration: &Duration) -> Setting {
        Setting::Text(show_duration(*duration))
    }
}

/// One of some words.
fn word<T: Copy>(setting: &Setting, all: &[(&'static str, T)]) -> Result<T, String> {
    let words = || all.iter().map(|(word, _)| *word);
    let Setting::Text(text) = setting else {
        return setting.refuse(&format!("one of {}", words().collect::<Vec<_>>().join(", ")));
    };
    match all.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)) {
        Some((_, value)) => Ok(*value),
        None => {
            let all = words().collect::<Vec<_>>().join(", ");
            Err(format!("{:?} is not one of {all}{}", shown(text), hint(text, words())))
        }
    }
}

fn shown_as<T: Copy + PartialEq>(value: T, all: &[(&'static str, T)]) -> Setting {
    let (word, _) = all.iter().find(|(_, other)| *other == value).or(all.first()).copied().unzip();
    Setting::Text(word.unwrap_or_default().to_owned())
}

/// A module that reads and shows one of some words.
macro_rules! words {
    ($module:ident, $type:ty, $all:expr) => {
        mod $module {
            use super::{Setting, shown_as, word};

            pub(super) fn read(setting: &Setting) -> Result<$type, String> {
                word(setting, &$all)
            }

            pub(super) fn show(value: &$type) -> Setting {
                shown_as(*value, &$all)
            }
        }
    };
}

words!(policy, crate::EvictionPolicy, crate::EvictionPolicy::ALL.map(|policy| (policy.name(), policy)));
words!(objective, crate::Objective, [("hits", crate::Objective::Hits), ("bytes", crate::Objective::Bytes)]);
words!(
    automove,
    crate::Automove,
    [("off", crate::Automove::Off), ("slow", crate::Automove::Slow), ("always", crate::Automove::Always)]
);
words!(
    maintenance,
    crate::Maintenance,
    [("thread", crate::Maintenance::Thread), ("manual", crate::Maintenance::Manual)]
);
words!(family, crate::params::Family, crate::params::Family::ALL.map(|family| (family.name(), family)));
words!(version, crate::params::EngineVersion, crate::params::EngineVersion::ALL.map(|v| (v.name(), v)));

mod node_type {
    use super::Setting;
    use crate::params::NodeType;

    pub(super) fn read(setting: &Setting) -> Result<&'static NodeType, String> {
        match setting {
            Setting::Text(text) => NodeType::find(text).map_err(|e| e.to_string()),
            _ => setting.refuse("the name of a node type"),
        }
    }

    pub(super) fn show(node: &&'static NodeType) -> Setting {
        Setting::Text(node.name.to_owned())
    }
}
