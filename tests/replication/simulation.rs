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
            8 => {
                world.restart_primary_empty();
                for _ in 0..50 {
                    world.write();
                    world.step();
                }
                // Nobody has lost anything to it; one of those takes its place, if one has anything.
                if !world.fail_over(false) {
                    world.accept_empty();
                }
            }
            _ => {}
        }
    }
    world.converge();
    world
}

#[test]
fn replicas_come_to_what_the_primary_has_and_show_nothing_else() {
    let seeds: u64 = std::env::var("LARDER_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(60);
    let (mut full, mut partial, mut checks) = (0, 0, 0);
    for seed in 1..=seeds {
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
