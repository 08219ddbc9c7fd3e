/** The rules that a reset takes away, on the real iptables of both kinds, in a network namespace of this test. */
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ownRulesOf, removalOf } from "../../../agent/src/steps/kubeadm/iptables-rules.ts";

const NAMESPACE = `drover-rules-${process.pid}`;

async function inside(program: string, args: readonly string[], input = ""): Promise<string> {
  return (await execa("nsenter", [`--net=/run/netns/${NAMESPACE}`, program, ...args], { input })).stdout;
}

const RULES: readonly (readonly string[])[] = [
  ["filter", "-N", "KUBE-FIREWALL"],
  ["filter", "-N", "KUBE-FORWARD"],
  ["filter", "-N", "MINE"],
  ["filter", "-A", "KUBE-FIREWALL", "-j", "KUBE-FORWARD"],
  ["filter", "-A", "INPUT", "-j", "KUBE-FIREWALL"],
  ["filter", "-A", "INPUT", "-p", "tcp", "--dport", "22", "-j", "ACCEPT"],
  ["filter", "-A", "INPUT", "-m", "comment", "--comment", "said: -j KUBE-FIREWALL", "-j", "MINE"],
  ["filter", "-A", "FORWARD", "-m", "comment", "--comment", "cali:S93hcgKJrXEqnTfs", "-j", "ACCEPT"],
  ["filter", "-A", "MINE", "-j", "RETURN"],
  ["nat", "-N", "CNI-aa"],
  ["nat", "-A", "POSTROUTING", "-m", "comment", "--comment", 'name: "bed" id: "a b"', "-j", "CNI-aa"],
  ["nat", "-A", "POSTROUTING", "-o", "lo", "-j", "MASQUERADE"],
];

describe.each(["iptables-legacy", "ip6tables-legacy", "iptables-nft", "ip6tables-nft"])("%s", (program) => {
  beforeAll(async () => {
    await execa("/usr/sbin/ip", ["netns", "add", NAMESPACE]);
  });
  afterAll(async () => {
    await execa("/usr/sbin/ip", ["netns", "delete", NAMESPACE]);
  });

  it("loses just the rules of Kubernetes and its networks, and taking them away again takes nothing", async () => {
    for (const [table = "", ...rule] of RULES) await inside(program, ["--table", table, ...rule]);
    const save = async (): Promise<string> => inside(`${program}-save`, []);
    const own = ownRulesOf(await save());
    expect(own.flatMap(({ chains }) => chains).toSorted()).toEqual(["CNI-aa", "KUBE-FIREWALL", "KUBE-FORWARD"]);
    await inside(`${program}-restore`, ["--noflush", "--wait=5"], removalOf(own));
    const left = await save();
    expect(ownRulesOf(left)).toEqual([]);
    const rules = left.split("\n").filter((line) => line.startsWith("-A ") || /^:[A-Z]+ -/.test(line));
    expect(rules.toSorted()).toEqual([
      '-A INPUT -m comment --comment "said: -j KUBE-FIREWALL" -j MINE',
      "-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT",
      "-A MINE -j RETURN",
      "-A POSTROUTING -o lo -j MASQUERADE",
      ":MINE - [0:0]",
    ]);
  });
});
