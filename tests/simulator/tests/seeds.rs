//! Runs of the simulator. A run that fails says its seed; `cargo run -p simulator -- --seed N --orders M` repeats it.

use std::process::Command;

/// Runs the simulator: whether it found nothing, and what it printed.
fn simulate(seed: u64, orders: u64) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_simulator"))
        .args(["--seed", &seed.to_string(), "--orders", &orders.to_string()])
        .output()
        .expect("the simulator starts");
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), format!("{out}{error}"))
}

/// The digest over everything that happened.
fn trace(printed: &str) -> String {
    let after = printed.rsplit_once("trace ").map(|(_, after)| after);
    after.and_then(|after| after.split(',').next()).expect("it prints the trace").to_owned()
}

#[test]
fn a_seed_repeats_its_run_exactly_and_another_seed_makes_another() {
    let runs = [7, 7, 8].map(|seed| std::thread::spawn(move || simulate(seed, 150)));
    let [first, again, other] = runs.map(|run| run.join().expect("no panic"));
    for (clean, printed) in [&first, &again, &other] {
        assert!(clean, "{printed}");
    }
    assert_eq!(trace(&first.1), trace(&again.1), "{}\n{}", first.1, again.1);
    assert_ne!(trace(&first.1), trace(&other.1));
}

#[test]
fn three_thousand_orders_come_to_rest_whatever_fails() {
    let (clean, printed) = simulate(1, 3_000);
    assert!(clean, "{printed}");
}
