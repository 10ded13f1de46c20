//! Tests of the guarantees of every broker adapter: delivery at least once, order per key, effects exactly once.

mod conformance;
mod handlers;
mod inbox;
mod kafka_only;
mod outages;
mod outbox;
mod retention;
mod test_broker;

/// The suite for one broker.
macro_rules! suite {
    ($module:ident, $kind:ident $(, #[$skip:meta])?) => {
        mod $module {
            use crate::{
                conformance,
                test_broker::{Kind, TestBroker},
            };

            suite!(@tests $kind, [$(#[$skip])?],
                events_of_one_key_come_in_order_to_every_group,
                a_group_that_waits_holds_up_no_other,
                a_group_continues_where_it_stopped,
                what_a_killed_consumer_had_not_done_comes_again,
                what_a_stopped_consumer_had_not_done_comes_again,
                poison_goes_to_the_dead_letters_and_the_others_are_handled,
                what_has_to_wait_is_not_lost,
                a_dead_letter_is_replayed_for_its_group_alone,
                events_behind_a_dead_letter_wait_and_take_effect_in_order_after_it,
                what_follows_a_first_event_in_the_dead_letters_waits_for_it,
                two_consumers_of_a_group_double_no_effect_and_stand_in_for_each_other,
                a_big_batch_arrives_whole,
                plain_json_for_other_clients_goes_out_as_it_is,
            );
        }
    };
    (@tests $kind:ident, $skip:tt, $($test:ident,)*) => {
        $(suite!(@test $kind, $skip, $test);)*
    };
    (@test $kind:ident, [$($skip:tt)*], $test:ident) => {
        #[tokio::test(flavor = "multi_thread")]
        $($skip)*
        async fn $test() {
            conformance::$test(TestBroker::new(Kind::$kind).await).await;
        }
    };
}

suite!(embedded, Embedded);
suite!(kafka, Kafka, #[ignore = "needs SOUK_TEST_KAFKA_URL: ./test starts it"]);
suite!(rabbitmq, Rabbit, #[ignore = "needs SOUK_TEST_AMQP_URL: ./test starts it"]);
suite!(dapr, Dapr, #[ignore = "needs SOUK_TEST_KAFKA_URL and DAPRD: ./test starts them"]);
