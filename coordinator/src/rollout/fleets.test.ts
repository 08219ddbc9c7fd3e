import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { keys } from "../store/keys.ts";
import { putJson } from "../store/values.ts";
import { memberFixture, type MemberFixture } from "./fleets-fixture.ts";

let fixture: MemberFixture;
beforeEach(async () => {
  fixture = await memberFixture(["a", "b", "c"]);
});
afterEach(() => fixture.stop());

describe("a fleet that is looked at again", () => {
  it("is the same object when nothing changed, also when much was touched", async () => {
    const first = fixture.fleet();
    expect(first.map(({ name }) => name)).toEqual(["a", "b", "c"]);
    expect(fixture.fleet()).toBe(first);
    fixture.fleets.touchAll();
    expect(fixture.fleet()).toBe(first);
    await fixture.commit(
      putJson(keys.objectsOf("Node") + "a", { ...fixture.node("a"), metadata: { ...fixture.node("a").metadata, annotations: { x: "y" } } }),
    );
    expect(fixture.fleet()).toBe(first);
  });

  it("has new objects for the nodes that changed, and the old ones for all others", async () => {
    const first = fixture.fleet();
    fixture.view.setHealth("b", { verdict: "unknown", reason: "Silent" });
    expect(fixture.fleet()).toBe(first);
    fixture.fleets.touch("b");
    const second = fixture.fleet();
    expect(second).not.toBe(first);
    expect([second[0] === first[0], second[1] === first[1], second[2] === first[2]]).toEqual([true, false, true]);
    expect(second[1]).toMatchObject({ verdict: "unknown", verdictReason: "Silent" });
    expect(fixture.fleet()).toBe(second);
  });

  it("follows members that come, go and are labelled otherwise", async () => {
    const first = fixture.fleet();
    const relabelled = { ...fixture.node("c"), metadata: { ...fixture.node("c").metadata, labels: { set: "web", zone: "z9" } } };
    await fixture.commit(putJson(keys.object("Node", "c"), relabelled), { type: "delete", key: keys.object("Node", "b") });
    const second = fixture.fleet();
    expect(second.map(({ name, labels }) => `${name} ${labels["zone"] ?? ""}`)).toEqual(["a ", "c z9"]);
    expect(second[0]).toBe(first[0]);
    fixture.view.setHealth("c", { verdict: "unknown", reason: "Silent" });
    fixture.fleets.touch("c");
    expect(fixture.fleet()[1]).toMatchObject({ name: "c", verdict: "unknown" });
  });

  it("gathers of other members those only that are new or were touched", async () => {
    const first = fixture.fleet();
    expect(fixture.takeGathered()).toEqual(["a", "b", "c"]);
    const young = { ...fixture.node("c"), metadata: { ...fixture.node("c").metadata, name: "d", uid: "d" } };
    fixture.view.setHealth("b", { verdict: "unknown", reason: "Silent" });
    fixture.fleets.touch("b");
    await fixture.commit(putJson(keys.node("d"), { nodeId: "d", name: "d" }), putJson(keys.object("Node", "d"), young));
    const second = fixture.fleet();
    expect(fixture.takeGathered().toSorted()).toEqual(["b", "d"]);
    expect(second.map(({ name, verdict }) => `${name} ${verdict}`)).toEqual(["a healthy", "b unknown", "c healthy", "d unknown"]);
    expect([second[0] === first[0], second[2] === first[2]]).toEqual([true, true]);
  });

  it("is gathered in turns when they are many; who is touched between two of them is gathered once more", async () => {
    const names = Array.from({ length: 1_200 }, (_, index) => `n${String(index).padStart(4, "0")}`);
    const large = await memberFixture(names);
    try {
      const near = large.near();
      expect(large.takeGathered()).toEqual(names.slice(0, 500));
      large.view.setHealth("n0000", { verdict: "unknown", reason: "Silent" });
      large.fleets.touch("n0000");
      await near;
      const gatheredNear = large.takeGathered();
      const fleet = large.fleet();
      expect([...gatheredNear, ...large.takeGathered()].toSorted()).toEqual(["n0000", ...names.slice(500)]);
      expect(fleet.map(({ name }) => name)).toEqual(names);
      expect(fleet[0]).toMatchObject({ verdict: "unknown" });
    } finally {
      await large.stop();
    }
  });

  it("asks again for gates that wait for a cluster, though nobody tells that time has passed", async () => {
    await fixture.enforce("a");
    fixture.fleets.touch("a");
    expect(fixture.fleet()[0]?.gate).toMatchObject({ state: "pending" });
    expect(fixture.fleets.isPending("web")).toBe(true);
    fixture.readAtMs = 1e15;
    expect(fixture.fleet()[0]?.gate).toMatchObject({ state: "passed" });
    expect(fixture.fleets.isPending("web")).toBe(false);
  });

  it("of 2,000 nodes asks for ten when ten of them changed", async () => {
    const large = await memberFixture(Array.from({ length: 2_000 }, (_, index) => `n${String(index).padStart(6, "0")}`));
    try {
      large.fleet();
      const before = large.fleet();
      for (let index = 0; index < 10; index += 1) {
        large.view.setHealth(`n00010${index}`, { verdict: "unknown", reason: "Silent" });
        large.fleets.touch(`n00010${index}`);
      }
      const asked = vi.spyOn(large.view, "node");
      const after = large.fleet();
      expect(new Set(asked.mock.calls.map(([nodeId]) => nodeId)).size).toBe(10);
      expect(after.filter((node, place) => node !== before[place])).toHaveLength(10);
    } finally {
      await large.stop();
    }
  });
});
