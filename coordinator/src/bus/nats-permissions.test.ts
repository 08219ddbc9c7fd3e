import { nodePermissions, shardOf, streams, subjects } from "@drover/proto";
import type { NatsConnection } from "@nats-io/transport-node";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { until } from "./bus-conformance.ts";
import { type NatsTestbed, openNatsTestbed } from "./nats-testbed.ts";

const NODE = "aaaaaaaaaa";
const OTHER = "bbbbbbbbbb";
const foreignShard = (shardOf(NODE) + 1) % 64;

const FORBIDDEN_PUBLISH = [
  subjects.heartbeat(OTHER),
  subjects.report(OTHER),
  `drover.hb.${foreignShard}.${NODE}`,
  `drover.report.${foreignShard}.${NODE}`,
  subjects.sentinel,
  subjects.toNode(NODE),
  subjects.toNode(OTHER),
  subjects.budget(shardOf(NODE)),
  `$JS.API.STREAM.DELETE.${streams.reports}`,
  `$JS.API.STREAM.INFO.${streams.reports}`,
  `$JS.API.STREAM.NAMES`,
  `$JS.API.CONSUMER.CREATE.${streams.reports}`,
  `$JS.API.INFO`,
  `$JS.ACK.${streams.reports}.x.1.1.1.1.0`,
  "$JS.FC.x",
  "$SYS.REQ.SERVER.PING",
  "$SYS.REQ.USER.INFO",
  "$SYS.REQ.ACCOUNT.x.CLAIMS.UPDATE",
  "_INBOX.anything",
  "anything",
];
const FORBIDDEN_SUBSCRIBE = [
  subjects.toNode(OTHER),
  "drover.to.*",
  "drover.to.>",
  subjects.budget(foreignShard),
  "drover.budget.*",
  subjects.heartbeat(NODE),
  subjects.report(NODE),
  subjects.report(OTHER),
  "drover.>",
  "drover.hb.>",
  "drover.report.>",
  "_INBOX.>",
  "_INBOX.x",
  "$JS.API.>",
  "$JS.EVENT.>",
  "$SYS.>",
  "$SYS.ACCOUNT.>",
  ">",
  "*",
  "*.*.*",
];

describe("a node's NATS credential, against a real server", () => {
  let testbed: NatsTestbed;
  let node: NatsConnection;
  let denied: string[];

  beforeAll(async () => {
    testbed = await openNatsTestbed();
    node = await testbed.connectNode(NODE);
    denied = [];
    void (async () => {
      for await (const status of node.status()) if (status.type === "error") denied.push(status.error.message);
    })();
  });
  afterAll(() => testbed.close());

  it.each(FORBIDDEN_PUBLISH)("may not publish to %s", async (subject) => {
    denied.length = 0;
    node.publish(subject, "x");
    await node.flush();
    await until(() => denied.length > 0);
    expect(denied[0]).toContain(`"${subject}"`);
  });

  it.each(FORBIDDEN_SUBSCRIBE)("may not subscribe to %s", async (subject) => {
    let error: Error | null = null;
    node.subscribe(subject, {
      callback(refusal) {
        error = refusal;
      },
    });
    await node.flush();
    await until(() => error !== null);
    expect(String(error)).toContain(subject);
  });

  it("may do the four things that the protocol gives it", async () => {
    const free = await testbed.connectNode(NODE);
    const errors: unknown[] = [];
    void (async () => {
      for await (const status of free.status()) if (status.type === "error") errors.push(status);
    })();
    const { publish, subscribe } = nodePermissions(NODE);
    expect([...publish, ...subscribe]).toHaveLength(4);
    for (const subject of subscribe) free.subscribe(subject, { callback: (error) => void (error !== null && errors.push(error)) });
    for (const subject of publish) free.publish(subject, Buffer.alloc(64 * 1024));
    await free.flush();
    await free.flush();
    expect(errors).toEqual([]);
    expect(free.isClosed()).toBe(false);
  });

  it("is cut for a message above 64 KiB and for more subscriptions than its own", async () => {
    const large = await testbed.connectNode(OTHER);
    // The server told its client the limit; a hostile one would not keep to it.
    Object.assign(large.info!, { max_payload: 1_000_000 });
    large.publish(subjects.report(OTHER), Buffer.alloc(64 * 1024 + 1));
    await until(() => large.isClosed());
    const many = await testbed.connectNode(OTHER);
    const refused: string[] = [];
    void (async () => {
      for await (const status of many.status()) if (status.type === "error") refused.push(status.error.message);
    })();
    for (let count = 0; count < 6; count++) many.subscribe(subjects.toNode(OTHER), { callback: () => undefined });
    await until(() => many.isClosed() || refused.length > 0);
  });

  it("ends with the node's certificate", async () => {
    const short = await testbed.connectNode("cccccccccc", { notAfterMs: Date.now() + 2_000 });
    expect(short.isClosed()).toBe(false);
    await until(() => short.isClosed(), 10_000);
    await expect(testbed.connectNode("cccccccccc", { notAfterMs: Date.now() - 1_000 })).rejects.toThrow();
  });
});

describe("a revoked node", () => {
  it("is cut within 5 s, cannot come back, not even after a restart of NATS, and nobody else notices", async () => {
    const testbed = await openNatsTestbed();
    try {
      const [revoked, other] = [await testbed.connectNode(NODE), await testbed.connectNode(OTHER)];
      let disturbances = 0;
      void (async () => {
        for await (const status of other.status()) if (status.type !== "ping") disturbances += 1;
      })();
      const startedMs = performance.now();
      await testbed.nats.revokeUser(testbed.key(NODE).publicKey, Date.now());
      await until(() => revoked.isClosed(), 5_000);
      expect(performance.now() - startedMs).toBeLessThan(5_000);
      await other.flush();
      expect(disturbances).toBe(0);
      await expect(testbed.connectNode(NODE)).rejects.toThrow();
      await other.close();
      await testbed.nats.stop();
      await testbed.nats.ensureRunning();
      // A JWT issued after the revocation is void too: the key is revoked, not a moment.
      await expect(testbed.connectNode(NODE)).rejects.toThrow();
      expect((await testbed.connectNode(OTHER)).isClosed()).toBe(false);
    } finally {
      await testbed.close();
    }
  });
});
