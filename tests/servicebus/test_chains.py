"""A chain asked by messages: its nested results, each to its message."""

from azure.servicebus import ServiceBusMessage

from app.devbus.broker import Broker
from tests.fixtures.chains import ONE_STEP, cells, cells_model, chain, colours_in, expected
from tests.fixtures.engines import MeanColourEngine
from tests.fixtures.queue import put, results, working
from tests.fixtures.service import colour_model, running


async def test_messages_get_nested_results() -> None:
    pictures = {f"m{count}": {place: (100 + place, 9, 7) for place in range(count)} for count in range(5)}
    messages = [
        ServiceBusMessage(
            cells(colours), content_type="image/png", message_id=name, application_properties={"model": "chain"}
        )
        for name, colours in pictures.items()
    ]
    models = (cells_model(), colour_model(MeanColourEngine()))
    async with Broker(["jobs,lock=30", "results"]) as broker:
        with running(*models, lanes=2, chains=[chain(ONE_STEP)]) as service:
            async with working(service, broker):
                await put(broker, messages)
                found = await results(broker, len(pictures))
    seen = {name: colours_in(body) for name, body in found.items()}
    assert seen == {name: expected(colours) for name, colours in pictures.items()}
    assert found["m4"]["chain"][1]["crops"] == {"found": 4, "asked": 4, "failed": 0, "limit": 32}
