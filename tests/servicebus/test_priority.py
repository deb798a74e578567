"""A message's priority: what goes first among those that are held."""

import pytest

from app.devbus.broker import Broker
from app.devbus.limits import BrokerLimits
from tests.fixtures.engines import Gate, MeanColourEngine
from tests.fixtures.pictures import Colour
from tests.fixtures.queue import picture, put, working
from tests.fixtures.service import colour_model, running_core
from tests.fixtures.waiting import until_async

RED: Colour = (255, 0, 0)


def broker() -> Broker:
    return Broker(["jobs,lock=60", "results"], limits=BrokerLimits(max_message_size=8 << 20))


async def test_high_goes_before_normal_and_normal_before_low() -> None:
    gate = Gate()
    with running_core(colour_model(MeanColourEngine(gate), max_batch_size=1)) as core:
        async with broker() as bus, working(core.service, bus):
            await put(bus, [picture(RED, "first")])
            await until_async(lambda: gate.entered == 1)
            names = ["low", "low", "normal", "normal", "high", "high"]
            await put(
                bus,
                (
                    picture(RED, f"{name}-{number}", application_properties={"priority": name})
                    for number, name in enumerate(names)
                ),
            )
            await until_async(lambda: core.batcher.waiting() == 6)
            gate.open()
            await until_async(lambda: bus.queue("results").depths.total == 7)
            order = [str(entry.message.correlation_id) for entry in bus.queue("results").peek()]
            assert order == ["first", "high-4", "high-5", "normal-2", "normal-3", "low-0", "low-1"]


@pytest.mark.parametrize("priority", ["urgent", 9])
async def test_a_priority_that_is_none_is_dead_lettered_in_words_that_name_those_there_are(priority: object) -> None:
    with running_core(colour_model(MeanColourEngine())) as core:
        async with broker() as bus, working(core.service, bus):
            await put(bus, [picture(RED, "odd", application_properties={"priority": priority})])
            await until_async(lambda: bus.queue("jobs").depths.dead_lettered == 1)
            dead = bus.queue("jobs").dead_letters
            assert dead is not None
            (entry,) = dead.peek()
            assert entry.reason == "InvalidMessage"
            assert "priority must be 'high', 'normal' or 'low'" in (entry.description or "")
