//! The saga against peer services that fail, repeat and crash: it always ends with everything done or with nothing.

use proptest::prelude::*;

use super::*;

/// What happens to one call.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// It is performed and answered.
    Done,
    /// It is performed, and the answer is lost.
    AnswerLost,
    /// The call is lost; it never arrives.
    Lost,
    /// The call arrives late: after the next one.
    Late,
    /// The process dies before the call.
    CrashBefore,
    /// It is performed, then the process dies.
    CrashAfter,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => Just(Fate::Done),
        1 => Just(Fate::AnswerLost),
        1 => Just(Fate::Lost),
        1 => Just(Fate::Late),
        1 => Just(Fate::CrashBefore),
        1 => Just(Fate::CrashAfter),
    ]
}

/// The state of stock, payment and the order store, by the rules of their contracts: repeats change nothing, and an undo that
/// arrives first refuses the late call.
#[derive(Debug, Clone, Default)]
struct FakePeers {
    enough_stock: bool,
    enough_money: bool,
    held: bool,
    released: bool,
    charged: u32,
    captured: bool,
    voided: bool,
    stored: Stored,
    late: Vec<Effect>,
}

#[derive(Debug, Clone, Default, PartialEq)]
enum Stored {
    #[default]
    Checkout,
    Decided(Undo, CancelReason),
    Confirmed,
    Cancelled,
}

impl FakePeers {
    fn perform(&mut self, effect: &Effect, saga: &Saga) -> Event {
        match effect {
            Effect::Reserve => {
                if self.released {
                    return Event::NotReserved(CancelReason::Other("released".into()));
                }
                if !self.enough_stock {
                    return Event::NotReserved(CancelReason::Stock(Vec::new()));
                }
                self.held = true;
                Event::Reserved
            }
            Effect::Charge => {
                if self.voided || !self.enough_money {
                    return Event::NotCharged("refused".into());
                }
                if !self.captured {
                    self.captured = true;
                    self.charged += 1;
                }
                Event::Charged
            }
            Effect::Void => {
                self.captured = false;
                self.voided = true;
                Event::Voided
            }
            Effect::Release => {
                self.held = false;
                self.released = true;
                Event::Released
            }
            Effect::StoreConfirmed => self.store(Stored::Confirmed),
            Effect::StoreCancelled => self.store(Stored::Cancelled),
            Effect::StoreDecision => match &saga.phase {
                Phase::Deciding(undo, refusal) => self.store(Stored::Decided(*undo, refusal.clone())),
                _ => Event::NoAnswer,
            },
            Effect::Stop => Event::NoAnswer,
        }
    }

    fn store(&mut self, to: Stored) -> Event {
        assert!(
            !matches!(self.stored, Stored::Confirmed | Stored::Cancelled),
            "what is terminal is written once: {:?} then {to:?}",
            self.stored
        );
        self.stored = to;
        Event::Stored
    }

    /// The saga that a new process resumes.
    fn resume(&self, requirements: Requirements) -> Saga {
        match &self.stored {
            Stored::Decided(undo, refusal) => Saga::decided(*undo, refusal.clone()),
            _ => Saga::resume(requirements),
        }
    }

    fn arrive_late(&mut self, saga: &Saga) {
        for effect in std::mem::take(&mut self.late) {
            let _ = self.perform(&effect, saga);
        }
    }
}

fn is_store(effect: &Effect) -> bool {
    matches!(effect, Effect::StoreConfirmed | Effect::StoreCancelled | Effect::StoreDecision)
}

/// Runs a saga through its fates, then to its end with peer services that answer.
fn run(requirements: Requirements, mut peers: FakePeers, fates: Vec<Fate>, give_up_at: Option<usize>) -> FakePeers {
    let mut saga = Saga::start(requirements);
    let mut fates = fates.into_iter();
    for turn in 0.. {
        assert!(turn < 500, "the saga ends: {saga:?} {peers:?}");
        let effect = saga.effect();
        if effect == Effect::Stop {
            break;
        }
        if give_up_at == Some(turn) {
            saga = saga.step(Event::TimedOut("no answer".into()));
            continue;
        }
        let fate = fates.next().unwrap_or(Fate::Done);
        // A write to the order store is performed or lost, never late.
        let fate = match fate {
            Fate::Late | Fate::AnswerLost if is_store(&effect) => Fate::Lost,
            fate => fate,
        };
        match fate {
            Fate::Done => {
                let event = peers.perform(&effect, &saga);
                peers.arrive_late(&saga);
                saga = saga.step(event);
            }
            Fate::AnswerLost => {
                let _ = peers.perform(&effect, &saga);
                saga = saga.step(Event::NoAnswer);
            }
            Fate::Lost => saga = saga.step(Event::NoAnswer),
            Fate::Late => {
                peers.late.push(effect);
                saga = saga.step(Event::NoAnswer);
            }
            Fate::CrashBefore => saga = restarted(&peers, requirements),
            Fate::CrashAfter => {
                let _ = peers.perform(&effect, &saga);
                saga = restarted(&peers, requirements);
            }
        }
    }
    peers.arrive_late(&saga);
    peers
}

/// After a crash a terminal order has no saga any more.
fn restarted(peers: &FakePeers, requirements: Requirements) -> Saga {
    let mut saga = peers.resume(requirements);
    if matches!(peers.stored, Stored::Confirmed | Stored::Cancelled) {
        saga.phase = Phase::LeaseLost;
    }
    saga
}

fn assert_whole(requirements: Requirements, peers: &FakePeers) {
    assert!(peers.charged <= 1 || !peers.captured, "charged twice: {peers:?}");
    match peers.stored {
        Stored::Confirmed => {
            assert_eq!(peers.held, requirements.stock, "{peers:?}");
            assert_eq!(peers.captured, requirements.payment, "{peers:?}");
        }
        Stored::Cancelled => {
            assert!(!peers.held && !peers.captured, "{peers:?}");
        }
        _ => panic!("not terminal: {peers:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn whatever_fails_repeats_or_crashes_it_ends_with_everything_or_with_nothing(
        stock: bool, payment: bool, enough_stock: bool, enough_money: bool,
        fates in prop::collection::vec(fate(), 0..24),
        give_up_at in prop::option::of(0_usize..12),
    ) {
        let requirements = Requirements { stock, payment };
        let peers = FakePeers { enough_stock, enough_money, ..FakePeers::default() };
        let peers = run(requirements, peers, fates, give_up_at);
        assert_whole(requirements, &peers);
    }

    #[test]
    fn a_cancellation_from_outside_ends_with_nothing_whatever_was_under_way(
        before in prop::collection::vec(fate(), 0..6),
        after in prop::collection::vec(fate(), 0..12),
        turns in 0_usize..6,
    ) {
        let requirements = Requirements { stock: true, payment: true };
        let mut peers = FakePeers { enough_stock: true, enough_money: true, ..FakePeers::default() };
        let mut saga = Saga::start(requirements);
        for (_, fate) in (0..turns).zip(before.into_iter().chain(std::iter::repeat(Fate::Done))) {
            let effect = saga.effect();
            if is_store(&effect) { break; }
            let event = peers.perform(&effect, &saga);
            if let Fate::Done = fate { saga = saga.step(event) }
        }
        // The cancellation takes the lease: the old driver's writes change nothing, and its last call arrives late.
        peers.late.push(saga.effect());
        peers.late.retain(|effect| !is_store(effect));
        let undo = Undo { release: true, void: true };
        peers.stored = Stored::Decided(undo, CancelReason::Other("cancelled".into()));
        let mut saga = peers.resume(requirements);
        let mut fates = after.into_iter().filter(|fate| !matches!(fate, Fate::Late));
        while saga.effect() != Effect::Stop {
            let effect = saga.effect();
            match fates.next().unwrap_or(Fate::Done) {
                Fate::CrashBefore => saga = restarted(&peers, requirements),
                Fate::Lost => {}
                Fate::CrashAfter => { let _ = peers.perform(&effect, &saga); saga = restarted(&peers, requirements); }
                Fate::AnswerLost if !is_store(&effect) => { let _ = peers.perform(&effect, &saga); }
                _ => { let event = peers.perform(&effect, &saga); saga = saga.step(event); }
            }
        }
        peers.arrive_late(&saga);
        assert_whole(requirements, &peers);
        prop_assert_eq!(peers.stored, Stored::Cancelled);
    }
}

#[test]
fn a_resumed_checkout_that_finds_no_stock_gives_back_what_may_have_been_charged() {
    let requirements = Requirements { stock: true, payment: true };
    let refused = || Event::NotReserved(CancelReason::Stock(Vec::new()));
    assert_eq!(Saga::start(requirements).step(refused()).effect(), Effect::StoreCancelled);
    let resumed = Saga::resume(requirements).step(refused());
    assert_eq!(resumed.effect(), Effect::StoreDecision);
    assert_eq!(resumed.step(Event::Stored).effect(), Effect::Void);
}

#[test]
fn every_phase_takes_every_event_and_only_the_awaited_one_moves_it() {
    let undo = Undo { release: true, void: true };
    let refusal = || CancelReason::Other("x".into());
    let phases = [
        Phase::Reserving,
        Phase::Charging,
        Phase::Confirming,
        Phase::Deciding(undo, refusal()),
        Phase::Voiding(undo, refusal()),
        Phase::Releasing(refusal()),
        Phase::Cancelling(refusal()),
        Phase::Confirmed,
        Phase::Cancelled(refusal()),
        Phase::LeaseLost,
    ];
    let events = [
        Event::Reserved,
        Event::NotReserved(CancelReason::Stock(Vec::new())),
        Event::Charged,
        Event::NotCharged("no".into()),
        Event::NoAnswer,
        Event::TimedOut("no answer".into()),
        Event::Stored,
        Event::LeaseLost,
        Event::Voided,
        Event::Released,
    ];
    let requirements = Requirements { stock: true, payment: true };
    let moves: Vec<(usize, usize)> = (0..phases.len())
        .flat_map(|p| (0..events.len()).map(move |e| (p, e)))
        .filter(|(p, e)| {
            let saga = Saga { requirements, phase: phases[*p].clone(), reached: Vec::new(), resumed: false };
            saga.clone().step(events[*e].clone()).phase != saga.phase
        })
        .collect();
    let expected = [
        (0, 0),
        (0, 1),
        (0, 5),
        (1, 2),
        (1, 3),
        (1, 5),
        (2, 6),
        (2, 7),
        (3, 6),
        (3, 7),
        (4, 8),
        (5, 9),
        (6, 6),
        (6, 7),
    ];
    assert_eq!(moves, expected);
}
