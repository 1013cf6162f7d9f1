//! Many seeds, each a run in which everything that can happen to machines, links and clocks happens.

use super::world::World;

/// One run: 300 steps with faults, then convergence.
fn run(seed: u64) -> World {
    let mut world = World::new(seed);
    for _ in 0..300 {
        for _ in 0..world.rng.below(4) {
            world.write();
        }
        world.step();
        match world.rng.below(400) {
            0..=3 => {
                let n = world.rng.below(3) as usize;
                world.crash_replica(n);
            }
            4 | 5 => {
                world.fail_over(true);
            }
            6 | 7 => {
                world.fail_over(false);
            }
            8 => empty_restart(&mut world),
            _ => {}
        }
    }
    world.converge();
    world
}

/// The primary comes back with nothing, and is written to. Whoever has data keeps them; then one of those takes its
/// place, if there is one, or all are told to give them up.
fn empty_restart(world: &mut World) {
    let before = world.kept();
    world.restart_primary_empty();
    for _ in 0..50 {
        world.write();
        world.step();
    }
    world.check_kept(&before);
    let steps_down = world.rng.below(2) == 0;
    if !world.fail_over(steps_down) {
        world.accept_empty();
    }
}

#[test]
fn replicas_come_to_what_the_primary_has_and_show_nothing_else() {
    let seeds: u64 = std::env::var("LARDER_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(60);
    let (mut full, mut partial, mut checks) = (0, 0, 0);
    let first: u64 = std::env::var("LARDER_FIRST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    for seed in first..first + seeds {
        let world = run(seed);
        full += world.full_syncs;
        partial += world.partial_syncs;
        checks += world.checks;
    }
    println!("{seeds} seeds: {full} full syncs, {partial} partial ones, {checks} exact comparisons");
    assert!(u64::from(full) > seeds && u64::from(partial) > seeds && checks > 100 * seeds);
}

#[test]
fn a_run_repeats_itself() {
    let (one, other) = (run(7), run(7));
    assert_eq!((one.full_syncs, one.partial_syncs, one.checks), (other.full_syncs, other.partial_syncs, other.checks));
    assert_eq!(one.now, other.now);
}
