import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { nodeOfSubject, SHARD_COUNT, shardOf, subjects } from "./subjects.ts";

const nodeId = fc.stringMatching(/^[a-z2-7]{10}$/);

describe("a node's subjects", () => {
  it("tell the node, and no subject but its own does", () => {
    fc.assert(
      fc.property(nodeId, fc.nat(SHARD_COUNT - 1), (node, shard) => {
        expect([subjects.heartbeat(node), subjects.report(node)].map(nodeOfSubject)).toEqual([node, node]);
        for (const kind of ["hb", "report"])
          expect(nodeOfSubject(`drover.${kind}.${shard}.${node}`)).toBe(shard === shardOf(node) ? node : undefined);
        for (const odd of [
          subjects.toNode(node),
          `drover.hb.${node}`,
          `drover.hb.${shardOf(node)}.x.${node}`,
          `${subjects.report(node)}.x`,
          `drover.hb..${node}`,
        ]) {
          expect(nodeOfSubject(odd)).toBeUndefined();
        }
      }),
    );
  });

  it("spread evenly over the shards, also when ids differ in one place only", () => {
    const letters = Array.from("abcdefghijklmnopqrstuvwxyz234567");
    const ids = letters.flatMap((a) => letters.flatMap((b) => letters.map((c) => `nodenod${a}${b}${c}`)));
    const counts = Array.from({ length: SHARD_COUNT }, () => 0);
    for (const id of ids) counts[shardOf(id)]! += 1;
    const mean = ids.length / SHARD_COUNT;
    for (const count of counts) expect(Math.abs(count - mean)).toBeLessThan(mean * 0.25);
  });
});
