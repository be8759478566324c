from dataclasses import replace
from random import Random

import pytest

from loadtests.record import Record, Run
from loadtests.simulate import Demand, Node, capacity, demand_of, parse_gpu, simulate
from loadtests.usage import Usage

ONE_STAGE = Demand(ingress=0.0, decode=0.01, detect=0.0, mask=0.0, generator=0.0, background=0.0)
RUN = Run(
    "detect", "open", "aiohttp", 10, 10.0, 100, 0, 0, {},
    usage={
        "Ingress": Usage(0.1, 0), "Decoder": Usage(0.4, 0), "Detector": Usage(0.5, 0),
        "PostgreSQL": Usage(1.0, 0),
    },
    generator_cpu_s=0.05,
    quantiles_ms=[8, 10, 30],
)  # fmt: skip


def test_a_lone_request_takes_the_sum_of_its_stages() -> None:
    demand = Demand(ingress=0.002, decode=0.005, detect=0.006, mask=0.007, generator=0.0, background=0.0)
    run = simulate(Node(2), demand, rate=1, is_even=True)
    assert run.p(50) == pytest.approx(20.0)
    assert run.p(99) == pytest.approx(20.0)


def test_clients_reach_what_the_cores_can_do() -> None:
    assert simulate(Node(2), ONE_STAGE, clients=8).rate == pytest.approx(200, rel=0.01)
    assert simulate(Node(4), ONE_STAGE, clients=8).rate == pytest.approx(400, rel=0.01)


def test_threads_bound_a_stage_whatever_the_cores() -> None:
    # One Decoder has four threads at most.
    assert simulate(Node(16), ONE_STAGE, clients=32).rate == pytest.approx(400, rel=0.01)
    assert simulate(Node(16, decoders=2), ONE_STAGE, clients=32).rate == pytest.approx(800, rel=0.01)


def test_waiting_at_random_arrivals_is_that_of_a_single_queue() -> None:
    # One server, 10 ms each, half busy: the mean wait is half a service (Pollaczek and Khinchine).
    run = simulate(Node(1), ONE_STAGE, rate=50, seconds=400)
    mean = sum(run.latencies_ms) / len(run.latencies_ms)
    assert mean == pytest.approx(15.0, rel=0.05)


def test_the_load_generator_and_the_machine_itself_take_their_share() -> None:
    demand = Demand(ingress=0.0, decode=0.01, detect=0.0, mask=0.0, generator=0.005, background=0.5)
    assert simulate(Node(2, has_generator=True), demand, clients=16).rate == pytest.approx(100, rel=0.02)
    assert simulate(Node(2), demand, clients=16).rate == pytest.approx(150, rel=0.02)


def test_nodes_carry_in_proportion_and_a_slow_rest_is_shared() -> None:
    one = simulate(Node(2), ONE_STAGE, clients=8).rate
    assert simulate(Node(2), ONE_STAGE, nodes=5, clients=40).rate == pytest.approx(5 * one, rel=0.02)


def test_a_gpu_works_on_what_waits_in_batches() -> None:
    demand = Demand(ingress=0.0, decode=0.0, detect=9.9, mask=0.0, generator=0.0, background=0.0)
    node = Node(4, gpus=1, gpu_s=((1, 0.01), (8, 0.02)))
    assert simulate(node, demand, clients=1).rate == pytest.approx(100, rel=0.02)
    assert simulate(node, demand, clients=16).rate == pytest.approx(400, rel=0.05)


def test_capacity_is_the_highest_rate_within_the_objective() -> None:
    rate, p99 = capacity(Node(2), ONE_STAGE, 1, 50.0)
    assert 120 < rate < 200
    assert p99 <= 50
    assert simulate(Node(2), ONE_STAGE, rate=rate * 1.2).p(99) > 50
    many, _ = capacity(Node(2), ONE_STAGE, 50, 1000.0, seconds=0.5)
    assert many < 50 * 200  # however short the simulation


def test_demands_come_from_the_run_and_the_machines_share_is_told_apart() -> None:
    demand = demand_of(Record({}, [replace(RUN, loop="closed")], [RUN]), "detect")
    assert (demand.ingress, demand.decode, demand.detect) == pytest.approx((0.001, 0.004, 0.005))
    assert demand.generator == pytest.approx(0.0005)
    assert demand.background == pytest.approx(0.1)
    assert demand.spread == pytest.approx((0.5, 0.625, 1.875))  # of their mean, 16


def test_random_arrivals_are_those_the_load_generator_makes() -> None:
    random, due, dues = Random(0), 0.0, []
    while due < 5:
        due += random.expovariate(20)
        dues.append(due)
    run = simulate(Node(64), ONE_STAGE, rate=20, seconds=5, warm_up=0)
    assert len(run.latencies_ms) == len([due for due in dues if due < 5 - 0.01])


def test_demands_at_random_arrivals_come_before_those_at_even_ones() -> None:
    even = replace(RUN, usage={"Detector": Usage(0.5, 0)})
    at_random = replace(RUN, usage={"Detector": Usage(0.7, 0)})
    record = Record({}, [replace(RUN, loop="closed")], [even], [at_random])
    assert demand_of(record, "detect").detect == pytest.approx(0.007)


def test_times_of_a_gpu_are_given_never_guessed() -> None:
    assert parse_gpu(["8=9.5", "1=3"]) == ((1, 0.003), (8, 0.0095))
    with pytest.raises(SystemExit, match="batch sizes"):
        parse_gpu(["fast"])
