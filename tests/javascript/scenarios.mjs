// What the JavaScript SDK's samples do, against the broker whose connection string is given. Prints one line a scenario.
import assert from "node:assert/strict";
import { ServiceBusClient } from "@azure/service-bus";

const client = new ServiceBusClient(process.argv[2]);
const wait = { maxWaitTimeInMs: 10_000 };

async function send(queue, ...messages) {
  const sender = client.createSender(queue);
  await sender.sendMessages(messages.length === 1 ? messages[0] : messages);
  await sender.close();
}

async function using(receiver, work) {
  try {
    return await work(receiver);
  } finally {
    await receiver.close();
  }
}

async function receive(receiver, count = 1) {
  const found = [];
  while (found.length < count) {
    const more = await receiver.receiveMessages(count - found.length, wait);
    assert.ok(more.length, `${found.length} of ${count} came`);
    found.push(...more);
  }
  return found;
}

const scenarios = {
  async sendsAndReceives() {
    await send("plain", { body: Buffer.from("picture"), messageId: "m1", contentType: "image/png" });
    await using(client.createReceiver("plain"), async (receiver) => {
      const [message] = await receive(receiver);
      assert.equal(message.messageId, "m1");
      assert.equal(message.contentType, "image/png");
      assert.equal(message.body.toString(), "picture");
      await receiver.completeMessage(message);
    });
  },
  async sendsManyAtOnce() {
    await send("many", ...Array.from({ length: 40 }, (_, n) => ({ body: `b${n}`, messageId: `m${n}` })));
    await using(client.createReceiver("many"), async (receiver) => {
      const found = await receive(receiver, 40);
      assert.deepEqual(found.map((m) => m.messageId), Array.from({ length: 40 }, (_, n) => `m${n}`));
      for (const message of found) await receiver.completeMessage(message);
    });
  },
  async fillsABatch() {
    const sender = client.createSender("batch");
    const batch = await sender.createMessageBatch();
    let count = 0;
    while (batch.tryAddMessage({ body: Buffer.alloc(20_000), messageId: `m${count}` })) count++;
    assert.ok(count > 5 && count < 14, `${count} fitted`);
    await sender.sendMessages(batch);
    await sender.close();
    await using(client.createReceiver("batch", { receiveMode: "receiveAndDelete" }), (receiver) => receive(receiver, count));
  },
  async refusesWhatIsTooLarge() {
    await assert.rejects(send("plain", { body: Buffer.alloc(300_000) }), (error) => error.code === "MessageSizeExceeded");
  },
  async streams() {
    const receiver = client.createReceiver("stream");
    const seen = [];
    const done = new Promise((resolve, reject) => {
      receiver.subscribe({
        async processMessage(message) {
          seen.push(message.body);
          if (seen.length === 10) resolve();
        },
        async processError(args) {
          reject(args.error);
        },
      });
    });
    await send("stream", ...Array.from({ length: 10 }, (_, n) => ({ body: n, messageId: `m${n}` })));
    await done;
    await receiver.close();
    assert.deepEqual(seen, Array.from({ length: 10 }, (_, n) => n));
  },
  async iterates() {
    await send("iterate", { body: 1, messageId: "a" }, { body: 2, messageId: "b" });
    await using(client.createReceiver("iterate"), async (receiver) => {
      const seen = [];
      for await (const message of receiver.getMessageIterator()) {
        seen.push(message.body);
        await receiver.completeMessage(message);
        if (seen.length === 2) break;
      }
      assert.deepEqual(seen, [1, 2]);
    });
  },
  async completesAMessageThatWasSentWithoutAnId() {
    await send("anonymous", { body: "no id" });
    await using(client.createReceiver("anonymous"), async (receiver) => {
      const [message] = await receive(receiver);
      assert.ok(message.messageId);
      await receiver.completeMessage(message);
      assert.deepEqual(await receiver.peekMessages(1), []);
    });
  },
  async abandonsWithProperties() {
    await send("abandon", { body: "a", messageId: "a", applicationProperties: { kept: 1 } });
    await using(client.createReceiver("abandon"), async (receiver) => {
      let [message] = await receive(receiver);
      await receiver.abandonMessage(message, { tried: "once" });
      [message] = await receive(receiver);
      assert.deepEqual(message.applicationProperties, { kept: 1, tried: "once" });
      assert.equal(message.deliveryCount, 1);
      await receiver.completeMessage(message);
    });
  },
  async defersAndReceivesByNumber() {
    await send("defer", { body: "d", messageId: "d" });
    await using(client.createReceiver("defer"), async (receiver) => {
      const [message] = await receive(receiver);
      await receiver.deferMessage(message, { why: "later" });
      const [peeked] = await receiver.peekMessages(1);
      assert.equal(peeked.state, "deferred");
      const [again] = await receiver.receiveDeferredMessages(message.sequenceNumber);
      assert.equal(again.state, "deferred");
      assert.equal(again.applicationProperties.why, "later");
      await receiver.completeMessage(again);
      assert.deepEqual(await receiver.peekMessages(1), []);
    });
  },
  async deadLettersWithReasonAndProperties() {
    await send("dead", { body: "x", messageId: "x" });
    await using(client.createReceiver("dead"), async (receiver) => {
      const [message] = await receive(receiver);
      await receiver.deadLetterMessage(message, { deadLetterReason: "bad", deadLetterErrorDescription: "very", more: 1 });
    });
    await using(client.createReceiver("dead", { subQueueType: "deadLetter" }), async (receiver) => {
      const [message] = await receive(receiver);
      assert.equal(message.deadLetterReason, "bad");
      assert.equal(message.deadLetterErrorDescription, "very");
      assert.equal(message.applicationProperties.more, 1);
      await receiver.completeMessage(message);
    });
  },
  async resubmitsADeadLetter() {
    await send("again", { body: "x", messageId: "x" });
    await using(client.createReceiver("again"), async (receiver) => {
      await receiver.deadLetterMessage((await receive(receiver))[0]);
    });
    await using(client.createReceiver("again", { subQueueType: "deadLetter" }), async (dead) => {
      const [message] = await receive(dead);
      await send("again", { body: message.body, messageId: "y" });
      await dead.completeMessage(message);
    });
    await using(client.createReceiver("again"), async (receiver) => {
      const [message] = await receive(receiver);
      assert.equal(message.messageId, "y");
      await receiver.completeMessage(message);
    });
  },
  async renewsALock() {
    await send("renew", { body: "r", messageId: "r" });
    await using(client.createReceiver("renew"), async (receiver) => {
      const [message] = await receive(receiver);
      const before = message.lockedUntilUtc;
      assert.ok((await receiver.renewMessageLock(message)) >= before);
      await receiver.completeMessage(message);
    });
  },
  async peeksWithoutLocking() {
    await send("peek", { body: 1, messageId: "1" }, { body: 2, messageId: "2" });
    await using(client.createReceiver("peek"), async (receiver) => {
      assert.deepEqual((await receiver.peekMessages(5)).map((m) => m.body), [1, 2]);
      const found = await receive(receiver, 2);
      assert.ok(found.every((m) => m.enqueuedSequenceNumber >= 1 && m.sequenceNumber.toNumber() >= 1));
      for (const message of found) await receiver.completeMessage(message);
    });
  },
  async schedulesAndCancels() {
    const sender = client.createSender("schedule");
    const soon = new Date(Date.now() + 3_600_000);
    const [first, second] = await sender.scheduleMessages([{ body: 1, messageId: "1" }, { body: 2, messageId: "2" }], soon);
    await sender.cancelScheduledMessages(first);
    await using(client.createReceiver("schedule"), async (receiver) => {
      const [left] = await receiver.peekMessages(5);
      assert.equal(left.state, "scheduled");
      assert.equal(left.messageId, "2");
    });
    await sender.cancelScheduledMessages([second]);
    await sender.close();
  },
  async deliversWhatWasScheduled() {
    const sender = client.createSender("scheduled");
    await sender.scheduleMessages({ body: 1, messageId: "1" }, new Date(Date.now() + 300));
    await sender.close();
    await using(client.createReceiver("scheduled", { receiveMode: "receiveAndDelete" }), (receiver) => receive(receiver));
  },
  async receivesAndDeletes() {
    await send("gone", { body: "g", messageId: "g" });
    await using(client.createReceiver("gone", { receiveMode: "receiveAndDelete" }), async (receiver) => {
      assert.equal((await receive(receiver))[0].body, "g");
      assert.deepEqual(await receiver.peekMessages(1), []);
    });
  },
  async dropsDuplicates() {
    await send("dedup", { body: 1, messageId: "same" });
    await send("dedup", { body: 2, messageId: "same" });
    await using(client.createReceiver("dedup"), async (receiver) => {
      assert.equal((await receiver.peekMessages(5)).length, 1);
    });
  },
  async expires() {
    await send("expire", { body: 1, messageId: "1", timeToLive: 50 });
    await using(client.createReceiver("expire", { subQueueType: "deadLetter" }), async (receiver) => {
      const [message] = await receive(receiver);
      assert.equal(message.deadLetterReason, "TTLExpiredException");
      await receiver.completeMessage(message);
    });
  },
  async keepsPropertiesOfAllKinds() {
    const properties = { text: "ä", number: 7, real: 0.5, yes: true, none: null };
    await send("kinds", { body: { deep: [1, { x: "y" }] }, messageId: "k", applicationProperties: properties,
      correlationId: "c", subject: "s", replyTo: "results", to: "t", partitionKey: "p" });
    await using(client.createReceiver("kinds"), async (receiver) => {
      const [message] = await receive(receiver);
      assert.deepEqual(message.body, { deep: [1, { x: "y" }] });
      assert.deepEqual(message.applicationProperties, properties);
      assert.deepEqual([message.correlationId, message.subject, message.replyTo, message.to], ["c", "s", "results", "t"]);
      await receiver.completeMessage(message);
    });
  },
  async receivesASession() {
    await send("sessions", { body: 1, sessionId: "r1", messageId: "1" }, { body: 2, sessionId: "r2", messageId: "2" });
    await using(await client.acceptSession("sessions", "r2"), async (receiver) => {
      const [message] = await receive(receiver);
      assert.equal(message.body, 2);
      await receiver.setSessionState("half-way");
      assert.equal(await receiver.getSessionState(), "half-way");
      assert.ok((await receiver.renewSessionLock()) > new Date());
      await receiver.completeMessage(message);
    });
    await using(await client.acceptNextSession("sessions"), async (receiver) => {
      assert.equal(receiver.sessionId, "r1");
      const [message] = await receive(receiver);
      await receiver.completeMessage(message);
    });
  },
  async isRefusedASessionThatIsHeld() {
    await using(await client.acceptSession("sessions", "held"), async () => {
      await assert.rejects(client.acceptSession("sessions", "held"), (error) => error.code === "SessionCannotBeLocked");
    });
  },
  async isToldThatNoSessionCameInTime() {
    const impatient = new ServiceBusClient(process.argv[2], { retryOptions: { timeoutInMs: 1500, maxRetries: 0 } });
    await assert.rejects(impatient.acceptNextSession("nobody"), (error) => error.code === "ServiceTimeout");
    await impatient.close();
  },
  async losesASessionWhoseLockEnds() {
    await send("brief-sessions", { body: 1, sessionId: "s", messageId: "1" });
    await using(await client.acceptNextSession("brief-sessions", { maxAutoLockRenewalDurationInMs: 0 }), async (receiver) => {
      const [message] = await receive(receiver);
      await new Promise((resolve) => setTimeout(resolve, 700));
      await assert.rejects(receiver.completeMessage(message), (error) => error.code === "SessionLockLost");
    });
    await using(await client.acceptNextSession("brief-sessions"), async (receiver) => {
      const [message] = await receive(receiver);
      assert.equal(message.deliveryCount, 1);
      await receiver.completeMessage(message);
    });
  },
  async isToldThatSessionsAreWanted() {
    await assert.rejects(send("sessions", { body: 1 }), /SessionId/);
    await using(client.createReceiver("sessions"), (receiver) => assert.rejects(receiver.receiveMessages(1, wait), /sessions/));
  },
  async publishesToATopic() {
    await send("topic", { body: "t", messageId: "t" });
    for (const name of ["one", "two"]) {
      await using(client.createReceiver("topic", name), async (receiver) => {
        const [message] = await receive(receiver);
        assert.equal(message.body, "t");
        await receiver.completeMessage(message);
      });
    }
  },
  async isToldThatAnEntityIsMissing() {
    await assert.rejects(send("nowhere", { body: 1 }), (error) => error.code === "MessagingEntityNotFound");
  },
  async isToldThatAnEntityIsForbidden() {
    const hasty = new ServiceBusClient(process.argv[2], { retryOptions: { maxRetries: 0 } });
    const told = hasty.createSender("forbidden").sendMessages({ body: 1 });
    await assert.rejects(told, (error) => (error.errors?.[0] ?? error).code === "UnauthorizedAccess");
    await hasty.close();
  },
  async isToldThatAnEntityIsFull() {
    await send("full", { body: 1 });
    await assert.rejects(send("full", { body: 2 }), (error) => error.code === "QuotaExceeded");
  },
  async losesALockAndIsTold() {
    await send("brief", { body: 1, messageId: "1" });
    await using(client.createReceiver("brief", { maxAutoLockRenewalDurationInMs: 0 }), async (receiver) => {
      const [message] = await receive(receiver);
      const [again] = await receive(receiver);
      assert.equal(again.deliveryCount, 1);
      await receiver.completeMessage(again);
      await assert.rejects(receiver.completeMessage(message), (error) => error.code === "MessageLockLost");
    });
  },
};

const wanted = process.argv.slice(3);
for (const [name, run] of Object.entries(scenarios)) {
  if (wanted.length && !wanted.includes(name)) continue;
  try {
    await run();
    console.log(JSON.stringify({ name, error: null }));
  } catch (error) {
    console.log(JSON.stringify({ name, error: String(error?.stack ?? error) }));
  }
}
await client.close();
process.exit(0);
