import { ReportBatch, streams, subjects } from "@drover/proto";
import { jetstreamManager, StorageType } from "@nats-io/jetstream";
import { connect, jwtAuthenticator } from "@nats-io/transport-node";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { until } from "./bus-conformance.ts";
import type { ReportPull } from "./bus.ts";
import { ensureStream, heartbeatsStream, reportsStream } from "./nats-streams.ts";
import { type NatsTestbed, openNatsTestbed } from "./nats-testbed.ts";

describe("the streams, on a real server", () => {
  let testbed: NatsTestbed;
  beforeAll(async () => {
    testbed = await openNatsTestbed();
  });
  afterAll(() => testbed.close());

  const asCoordinator = async () => {
    const user = testbed.nats.coordinatorUser();
    const authenticator = jwtAuthenticator(user.jwt, Buffer.from(user.seed));
    const connection = await connect({ servers: testbed.nats.localUrl, tls: { ca: testbed.nats.caPem }, authenticator });
    return { connection, manager: await jetstreamManager(connection) };
  };

  it("are made as the protocol has them, left alone when they are so, and brought back when they are not", async () => {
    const { connection, manager } = await asCoordinator();
    const made = await ensureStream(manager, heartbeatsStream);
    expect(made.config).toMatchObject({ ...heartbeatsStream, max_msgs_per_subject: 1, no_ack: true });
    expect((await ensureStream(manager, heartbeatsStream)).created).toBe(made.created);
    await manager.streams.update(streams.heartbeats, { max_age: 300_000_000_000 });
    const mended = await ensureStream(manager, heartbeatsStream);
    expect([mended.created, mended.config.max_age]).toEqual([made.created, 600_000_000_000]);

    await manager.streams.add({ ...reportsStream(1024 ** 2), storage: StorageType.Memory });
    const remade = await ensureStream(manager, reportsStream(1024 ** 2));
    expect(remade.config).toMatchObject({ storage: "file", discard: "old", max_msgs_per_subject: 1_000, max_bytes: 1024 ** 2 });
    await connection.close();
  });

  it("may be deleted while they are read: a new incarnation, and reading goes on", async () => {
    const { connection, manager } = await asCoordinator();
    const bus = testbed.bus();
    const stop = new AbortController();
    const pulls: ReportPull[] = [];
    const consuming = bus.consumeReports(undefined, async (pull) => void pulls.push(pull), stop.signal);
    const node = await testbed.connectNode("aaaaaaaaaa");
    const send = (seq: number): void =>
      node.publish(subjects.report("aaaaaaaaaa"), ReportBatch.encode(ReportBatch.fromPartial({ nodeId: "aaaaaaaaaa", seq })).finish());
    const has = (seq: number): boolean =>
      pulls.some((pull) => pull.messages.some((message) => ReportBatch.decode(message.payload).seq === seq));
    await until(() => {
      send(1);
      return has(1);
    });
    await manager.streams.delete(streams.reports);
    await until(() => {
      send(2);
      return has(2);
    });
    expect(new Set(pulls.map((pull) => pull.incarnation)).size).toBe(2);
    stop.abort();
    await consuming;
    await connection.close();
  });
});
