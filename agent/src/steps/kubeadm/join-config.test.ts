import { KubeadmSpec } from "@drover/proto";
import { describe, expect, it } from "vitest";
import { joinArguments, joinConfiguration, resetArguments } from "./join-config.ts";
import { kubeadmApiOf, parseKubernetesVersion } from "./versions.ts";

const CONFIG = "/run/drover/kubeadm/join.yaml";
const TOKEN = "abcdef.0123456789abcdef";
const spec = KubeadmSpec.create({
  cluster: "prod",
  endpoint: "10.0.0.1:6443",
  caCertHashes: ["sha256:aa"],
  nodeName: "web-1",
  nodeLabels: { "drover.dev/node-set": "web", tier: "front" },
  taints: [
    { key: "dedicated", value: "db", effect: "NoSchedule" },
    { key: "fresh", value: "", effect: "NoExecute" },
  ],
  kubeletExtraArgs: { v: "2", "node-labels": "mine=1" },
  ignorePreflightErrors: ["Swap"],
  skipPhases: ["preflight"],
});

function rendered(versionText: string, of: KubeadmSpec = spec) {
  const version = parseKubernetesVersion(versionText)!;
  const api = kubeadmApiOf(version)!;
  const text = joinConfiguration(of, TOKEN, { version, api, patchesDirectory: "/etc/kubernetes/drover-patches" });
  return {
    api,
    configuration: JSON.parse(text) as Record<string, unknown>,
    args: joinArguments(of, CONFIG, api),
    reset: resetArguments("", version),
  };
}

const discovery = {
  bootstrapToken: { token: TOKEN, apiServerEndpoint: "10.0.0.1:6443", caCertHashes: ["sha256:aa"] },
  timeout: "2m0s",
};
const taints = [
  { key: "dedicated", value: "db", effect: "NoSchedule" },
  { key: "fresh", effect: "NoExecute" },
];
const labels = "mine=1,drover.dev/node-set=web,tier=front";
const socket = "/run/containerd/containerd.sock";

describe("kubeadm's configuration of a join", () => {
  it.each([
    ["v1.14.9", undefined],
    ["v1.15.0", "v1beta2"],
    ["v1.21.14", "v1beta2"],
    ["v1.22.0", "v1beta3"],
    ["v1.30.8", "v1beta3"],
    ["v1.31.0-rc.1", "v1beta4"],
    ["v2.0.0", "v1beta4"],
  ])("of kubeadm %s is %s", (text, api) => {
    expect(kubeadmApiOf(parseKubernetesVersion(text)!)).toBe(api);
  });

  it("is v1beta2 for 1.20: extra arguments as a mapping, phases by flag, the socket as a path, no patches", () => {
    const { configuration, args, reset } = rendered("v1.20.2");
    expect(configuration).toEqual({
      apiVersion: "kubeadm.k8s.io/v1beta2",
      kind: "JoinConfiguration",
      discovery,
      nodeRegistration: {
        name: "web-1",
        criSocket: socket,
        taints,
        kubeletExtraArgs: { "node-labels": labels, v: "2" },
        ignorePreflightErrors: ["Swap"],
      },
    });
    expect(args).toEqual(["join", `--config=${CONFIG}`, "--skip-phases=preflight"]);
    expect(reset).toEqual(["reset", "--force", `--cri-socket=${socket}`]);
  });

  it("is v1beta3 for 1.22 to 1.30: phases inside, patches of the kubelet's configuration from 1.25", () => {
    const { configuration, args } = rendered("v1.28.3");
    expect(configuration).toMatchObject({
      apiVersion: "kubeadm.k8s.io/v1beta3",
      nodeRegistration: { criSocket: `unix://${socket}`, kubeletExtraArgs: { "node-labels": labels, v: "2" } },
      skipPhases: ["preflight"],
      patches: { directory: "/etc/kubernetes/drover-patches" },
    });
    expect(args).toEqual(["join", `--config=${CONFIG}`]);
    expect(rendered("v1.24.0").configuration).not.toHaveProperty("patches");
    expect(rendered("v1.23.0").configuration).toMatchObject({ nodeRegistration: { criSocket: socket } });
  });

  it("is v1beta4 from 1.31: extra arguments as a list of names and values", () => {
    const { configuration } = rendered("v1.33.1");
    expect(configuration).toMatchObject({
      apiVersion: "kubeadm.k8s.io/v1beta4",
      timeouts: { discovery: "2m0s" },
      nodeRegistration: {
        kubeletExtraArgs: [
          { name: "node-labels", value: labels },
          { name: "v", value: "2" },
        ],
        taints,
      },
    });
    expect(configuration["discovery"]).not.toHaveProperty("timeout");
  });

  it("says that there are no taints rather than nothing, and never tells the token in an argument", () => {
    const bare = KubeadmSpec.create({ cluster: "prod", endpoint: "e:1", caCertHashes: ["sha256:aa"] });
    for (const version of ["v1.20.2", "v1.28.0", "v1.31.0"]) {
      const { configuration, args } = rendered(version, bare);
      expect(configuration["nodeRegistration"]).toMatchObject({ taints: [] });
      expect(configuration["nodeRegistration"]).not.toHaveProperty("name");
      expect(args.join(" ")).not.toContain(TOKEN);
    }
  });
});
