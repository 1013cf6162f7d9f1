//! What a case of the model test is made of: the cache's settings and a list of operations, and how both are drawn.

use larder::{Automove, EvictionPolicy, Kind, Objective};
use proptest::collection::vec;
use proptest::prelude::*;

/// The namespaces that take part.
pub(crate) const NAMESPACES: [u8; 4] = [0, 1, 7, 255];
/// The tags that items have; an item can have several.
pub(crate) const TAGS: [&str; 3] = ["a", "b", "c"];
/// Keys of each.
pub(crate) const KEYS: u16 = 160;

/// A key: namespace (an index into [`NAMESPACES`]) and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) space: usize,
    pub(crate) number: u16,
}

impl Key {
    /// The key's bytes: mostly short, some too long for a short header, one of them empty.
    pub(crate) fn bytes(self) -> Vec<u8> {
        let mut bytes = match self.number {
            0 => Vec::new(),
            n => format!("key-{n}").into_bytes(),
        };
        if self.number % 13 == 5 {
            bytes.resize(64 + usize::from(self.number), b'.');
        }
        bytes
    }
}

/// A value.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value {
    /// Decimal text.
    Number(i64),
    /// So many bytes, which differ from place to place and from one `salt` to another.
    Bytes { len: u16, salt: u8 },
}

impl Value {
    pub(crate) fn bytes(self) -> Vec<u8> {
        match self {
            Value::Number(n) => n.to_string().into_bytes(),
            Value::Bytes { len, salt } => (0..usize::from(len)).map(|i| (i * 31) as u8 ^ salt).collect(),
        }
    }
}

/// Which token an operation names.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pick {
    /// The one that the key's value has, if it has one that the twin knows.
    Current,
    /// Any that was ever given out, or one that never was.
    Other(usize),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Expiry {
    Default,
    Never,
    /// Milliseconds from now.
    In(u64),
    /// Milliseconds from now, or before; given as a point in time.
    At(i64),
    Keep,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Condition {
    Always,
    Absent,
    Present,
    Token(Pick),
}

/// How a value is stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    pub(crate) expiry: Expiry,
    pub(crate) idle_ms: Option<u64>,
    pub(crate) condition: Condition,
    pub(crate) flags: u32,
    pub(crate) kind: Kind,
    pub(crate) want_old: bool,
    pub(crate) want_token: bool,
    /// Which of the [`TAGS`] it has: a bit for each.
    pub(crate) tags: u8,
}

/// How to count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counting {
    pub(crate) signed: bool,
    pub(crate) down: bool,
    pub(crate) by: u64,
    pub(crate) initial: Option<u64>,
    pub(crate) ttl_ms: Option<u64>,
}

/// What an update does with one of its keys.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Effect {
    Leave,
    Store(Value, Options),
    Remove,
}

#[derive(Debug, Clone)]
pub(crate) enum Op {
    Get(Key),
    Peek(Key),
    Read(Key),
    GetInto(Key),
    GetMany(usize, Vec<u16>),
    Contains(Key),
    Metadata(Key),
    GetWithToken(Key),
    GetAndTouch(Key, u64),
    /// Gets a guard and keeps it.
    Hold(Key),
    /// Drops one of the guards kept.
    Release(usize),
    Set(Key, Value),
    SetWith(Key, Value, Options),
    Add(Key, Value),
    Replace(Key, Value),
    Append(Key, Value),
    Prepend(Key, Value),
    Increment(Key, u64),
    Decrement(Key, u64),
    Count(Key, Counting),
    Swap(Key, Value, Pick, Options),
    RemoveIf(Key, Pick),
    Touch(Key, u64),
    TouchUntil(Key, i64),
    Persist(Key),
    Remove(Key),
    Take(Key),
    Clear(usize),
    /// Invalidates one of the tags in a namespace.
    InvalidateTag(usize, usize),
    /// Removes the keys of a namespace that begin with "key-" and this.
    InvalidatePrefix(usize, u8),
    ClearAll,
    ClearAfter(usize, u64),
    /// A whole scan, so many entries a step.
    Scan(usize, usize),
    /// A step of a scan that goes on between other operations.
    ScanStep(usize, usize),
    Iter(usize),
    /// Removes what has a value whose length this divides.
    Retain(usize, usize),
    Update(Vec<(Key, Effect)>),
    Reserve(Key, Value, Options),
    Write(usize, usize),
    Publish(usize),
    Abandon(usize),
    /// Stores many keys in a row, each with a value of about so many bytes.
    Burst {
        space: usize,
        first: u16,
        count: u16,
        len: u16,
        ttl_ms: Option<u64>,
    },
    SetMaxMemory(u64),
    SetReservedMemory(u64),
    SetPolicy(EvictionPolicy, Objective),
    SetAutomove(Automove),
    ReassignPage(usize, usize),
    Maintain,
    Advance(u64),
}

/// The settings of a case's cache.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) max_memory: u64,
    pub(crate) shards: usize,
    pub(crate) seed: u64,
    pub(crate) ttl_ms: Option<u64>,
    pub(crate) idle_ms: Option<u64>,
    pub(crate) tokens: bool,
    pub(crate) automove: Automove,
    pub(crate) objective: Objective,
    /// Whether the policy may be changed on the way.
    pub(crate) may_change_policy: bool,
    /// Whether there is a listener.
    pub(crate) listens: bool,
}

fn key() -> impl Strategy<Value = Key> {
    let number = prop_oneof![3 => 0..24u16, 2 => 0..KEYS];
    (prop_oneof![4 => Just(0), 2 => Just(1), 1 => 2..NAMESPACES.len()], number)
        .prop_map(|(space, number)| Key { space, number })
}

fn space() -> impl Strategy<Value = usize> {
    0..NAMESPACES.len()
}

fn value() -> impl Strategy<Value = Value> {
    let bytes = |len: std::ops::Range<u16>| (len, any::<u8>()).prop_map(|(len, salt)| Value::Bytes { len, salt });
    prop_oneof![
        4 => bytes(0..80),
        4 => bytes(80..400),
        2 => bytes(400..1100),
        1 => bytes(1100..9000),
        2 => prop_oneof![0..200i64, any::<i64>()].prop_map(Value::Number),
    ]
}

fn ttl() -> impl Strategy<Value = u64> {
    // None at all, soon, later, and further away than a short header reaches.
    prop_oneof![1 => Just(0u64), 6 => 1..3000u64, 2 => 3000..100_000u64, 1 => Just(5 * 365 * 86_400_000)]
}

fn pick() -> impl Strategy<Value = Pick> {
    prop_oneof![3 => Just(Pick::Current), 1 => any::<usize>().prop_map(Pick::Other)]
}

fn options() -> impl Strategy<Value = Options> {
    let expiry = prop_oneof![
        4 => Just(Expiry::Default),
        1 => Just(Expiry::Never),
        4 => ttl().prop_map(Expiry::In),
        2 => (-500i64..3000).prop_map(Expiry::At),
        2 => Just(Expiry::Keep),
    ];
    let idle = prop_oneof![5 => Just(None), 1 => (0..4000u64).prop_map(Some)];
    let condition = prop_oneof![
        6 => Just(Condition::Always),
        2 => Just(Condition::Absent),
        2 => Just(Condition::Present),
        1 => pick().prop_map(Condition::Token),
    ];
    let flags = prop_oneof![3 => Just(0u32), 1 => any::<u32>()];
    let kind = prop_oneof![
        6 => Just(Kind::String),
        1 => proptest::sample::select(vec![Kind::Hash, Kind::List, Kind::Set, Kind::SortedSet, Kind::HyperLogLog]),
    ];
    let tags = prop_oneof![3 => Just(0u8), 1 => 1..8u8];
    (expiry, idle, condition, flags, kind, any::<bool>(), proptest::bool::weighted(0.3), tags).prop_map(
        |(expiry, idle_ms, condition, flags, kind, want_old, want_token, tags)| Options {
            expiry,
            idle_ms,
            condition,
            flags,
            kind,
            want_old,
            want_token,
            tags,
        },
    )
}

fn counting() -> impl Strategy<Value = Counting> {
    let by = prop_oneof![4 => 0..50u64, 1 => any::<u64>()];
    let initial = proptest::option::of(prop_oneof![4 => 0..50u64, 1 => any::<u64>()]);
    (any::<bool>(), any::<bool>(), by, initial, proptest::option::of(ttl()))
        .prop_map(|(signed, down, by, initial, ttl_ms)| Counting { signed, down, by, initial, ttl_ms })
}

fn effect() -> impl Strategy<Value = Effect> {
    prop_oneof![
        1 => Just(Effect::Leave),
        3 => (value(), options()).prop_map(|(value, options)| Effect::Store(value, options)),
        1 => Just(Effect::Remove),
    ]
}

fn reads() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => key().prop_map(Op::Get),
        2 => key().prop_map(Op::Peek),
        3 => key().prop_map(Op::Read),
        2 => key().prop_map(Op::GetInto),
        2 => (space(), vec(0..KEYS, 0..40)).prop_map(|(space, keys)| Op::GetMany(space, keys)),
        2 => key().prop_map(Op::Contains),
        3 => key().prop_map(Op::Metadata),
        3 => key().prop_map(Op::GetWithToken),
        2 => (key(), ttl()).prop_map(|(key, ttl)| Op::GetAndTouch(key, ttl)),
        3 => key().prop_map(Op::Hold),
        2 => any::<usize>().prop_map(Op::Release),
        1 => (space(), 1..40usize).prop_map(|(space, count)| Op::Scan(space, count)),
        2 => (space(), 1..40usize).prop_map(|(space, count)| Op::ScanStep(space, count)),
        1 => space().prop_map(Op::Iter),
    ]
}

fn writes() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (key(), value()).prop_map(|(key, value)| Op::Set(key, value)),
        12 => (key(), value(), options()).prop_map(|(key, value, options)| Op::SetWith(key, value, options)),
        2 => (key(), value()).prop_map(|(key, value)| Op::Add(key, value)),
        2 => (key(), value()).prop_map(|(key, value)| Op::Replace(key, value)),
        2 => (key(), value()).prop_map(|(key, value)| Op::Append(key, value)),
        2 => (key(), value()).prop_map(|(key, value)| Op::Prepend(key, value)),
        2 => (key(), any::<u64>()).prop_map(|(key, by)| Op::Increment(key, by >> 20)),
        2 => (key(), any::<u64>()).prop_map(|(key, by)| Op::Decrement(key, by >> 20)),
        2 => (key(), counting()).prop_map(|(key, counting)| Op::Count(key, counting)),
        3 => (key(), value(), pick(), options()).prop_map(|(key, value, pick, o)| Op::Swap(key, value, pick, o)),
        1 => (key(), pick()).prop_map(|(key, pick)| Op::RemoveIf(key, pick)),
        2 => (key(), ttl()).prop_map(|(key, ttl)| Op::Touch(key, ttl)),
        1 => (key(), -500i64..5000).prop_map(|(key, at)| Op::TouchUntil(key, at)),
        2 => key().prop_map(Op::Persist),
        2 => key().prop_map(Op::Remove),
        1 => key().prop_map(Op::Take),
        2 => vec((key(), effect()), 0..4).prop_map(Op::Update),
        2 => (key(), value(), options()).prop_map(|(key, value, options)| Op::Reserve(key, value, options)),
        2 => (any::<usize>(), 0..600usize).prop_map(|(which, len)| Op::Write(which, len)),
        3 => any::<usize>().prop_map(Op::Publish),
        1 => any::<usize>().prop_map(Op::Abandon),
        3 => (space(), 0..KEYS, 1..KEYS, 0..500u16, proptest::option::weighted(0.3, ttl()))
            .prop_map(|(space, first, count, len, ttl_ms)| Op::Burst { space, first, count, len, ttl_ms }),
    ]
}

fn controls(may_change_policy: bool) -> impl Strategy<Value = Op> {
    let policies = proptest::sample::select(EvictionPolicy::ALL.to_vec());
    let objective = prop_oneof![Just(Objective::Hits), Just(Objective::Bytes)];
    let policy =
        (policies, objective).prop_map(
            move |(policy, objective)| {
                if may_change_policy { Op::SetPolicy(policy, objective) } else { Op::Maintain }
            },
        );
    prop_oneof![
        2 => space().prop_map(Op::Clear),
        6 => (space(), 0..TAGS.len()).prop_map(|(space, tag)| Op::InvalidateTag(space, tag)),
        1 => (space(), 1..10u8).prop_map(|(space, digit)| Op::InvalidatePrefix(space, digit)),
        1 => Just(Op::ClearAll),
        1 => (space(), 0..3000u64).prop_map(|(space, ms)| Op::ClearAfter(space, ms)),
        1 => (space(), 2..7usize).prop_map(|(space, n)| Op::Retain(space, n)),
        2 => (96..320u64).prop_map(|kib| Op::SetMaxMemory(kib << 10)),
        1 => (0..40u64).prop_map(|kib| Op::SetReservedMemory(kib << 10)),
        1 => policy,
        2 => automove().prop_map(Op::SetAutomove),
        3 => (0..30usize, 0..30usize).prop_map(|(from, to)| Op::ReassignPage(from, to)),
        6 => Just(Op::Maintain),
        8 => prop_oneof![4 => 1..400u64, 1 => 400..6000u64].prop_map(Op::Advance),
    ]
}

fn automove() -> impl Strategy<Value = Automove> {
    prop_oneof![Just(Automove::Off), Just(Automove::Slow), Just(Automove::Always)]
}

fn setup() -> impl Strategy<Value = Setup> {
    (
        prop_oneof![Just(128u64 << 10), Just(192 << 10), Just(256 << 10)],
        prop_oneof![Just(1usize), Just(2), Just(4)],
        any::<u64>(),
        proptest::option::weighted(0.2, 100..4000u64),
        proptest::option::weighted(0.2, 100..4000u64),
        proptest::bool::weighted(0.2),
        automove(),
        (prop_oneof![Just(Objective::Hits), Just(Objective::Bytes)], proptest::bool::weighted(0.25), any::<bool>()),
    )
        .prop_map(|(max_memory, shards, seed, ttl_ms, idle_ms, tokens, automove, others)| Setup {
            max_memory,
            shards,
            seed,
            ttl_ms,
            idle_ms,
            tokens,
            automove,
            objective: others.0,
            may_change_policy: others.1,
            listens: others.2,
        })
}

/// A case.
pub(crate) fn case(max_ops: usize) -> impl Strategy<Value = (Setup, Vec<Op>)> {
    setup().prop_flat_map(move |setup| {
        let op = prop_oneof![5 => reads(), 9 => writes(), 2 => controls(setup.may_change_policy)];
        (Just(setup), vec(op, 1..max_ops))
    })
}
