/** Takes away what kubeadm reset leaves of a node, and looks again: what is still there is named. */
import { withDeadline } from "@drover/lifecycle";
import { ownRulesOf, removalOf } from "./iptables-rules.ts";
import type { StepContext } from "../step.ts";
import { StepError } from "../step.ts";
import type { BeforeJoin } from "./memory.ts";
import { BOOTSTRAP_FILES, CNI_DIRECTORY, KUBELET_DIRECTORY, KUBELET_UNIT } from "./places.ts";
import { linkNames, mountsBelow, ownCniFiles, ownLinks, serviceAddress, virtualServices } from "./traces.ts";

const COMMAND_TIMEOUT_MS = 60_000;
const CRI_TIMEOUT_MS = 120_000;
/** A pod's network goes by plugins that may hang or be gone: each trace is tried again before it is called left. */
const TRIES = 3;

interface Trace {
  readonly name: string;
  find(context: StepContext, before: BeforeJoin | undefined): Promise<readonly string[]>;
  remove(found: readonly string[], context: StepContext): Promise<void>;
}

/** In the order in which they go: what holds others first. @throws StepError ResetIncomplete, which names what is left */
export async function cleanUp(before: BeforeJoin | undefined, context: StepContext): Promise<void> {
  const left: string[] = [];
  for (const trace of TRACES) {
    const remaining = await removed(trace, before, context);
    if (remaining.length > 0) left.push(`${trace.name}: ${shown(remaining)}`);
  }
  if (left.length === 0) return;
  throw new StepError("ResetIncomplete", `the node was reset, and this is left of it: ${left.join("; ")}`, true);
}

async function removed(trace: Trace, before: BeforeJoin | undefined, context: StepContext): Promise<readonly string[]> {
  let found: readonly string[] = [];
  let failure = "";
  for (let attempt = 0; attempt <= TRIES; attempt += 1) {
    context.signal.throwIfAborted();
    try {
      found = await trace.find(context, before);
      if (found.length === 0) return [];
      if (attempt === TRIES) break;
      context.say(`removing ${trace.name}: ${shown(found)}`);
      await trace.remove(found, context);
    } catch (error) {
      context.signal.throwIfAborted();
      // A machine that was killed or a disk that failed is no failure of this trace.
      if ((error as { isFatal?: unknown }).isFatal === true) throw error;
      failure = (error as Error).message;
    }
  }
  return failure === "" ? found : [...found, `(${failure})`];
}

const kubelet: Trace = {
  name: "unit",
  find: async ({ host, signal }) => ((await host.units.isActive(KUBELET_UNIT, signal)) ? [KUBELET_UNIT] : []),
  remove: async (_found, { host, signal }) => host.units.stop(KUBELET_UNIT, signal),
};

const sandboxes: Trace = {
  name: "pod sandboxes",
  find: (context) =>
    withDeadline(context.clock, "the list of sandboxes", CRI_TIMEOUT_MS, context.signal, async (signal) =>
      (await context.host.containerd.listSandboxes(signal)).map(({ id }) => id),
    ),
  remove: async (found, context) => {
    for (const id of found) {
      await withDeadline(context.clock, `removing sandbox ${id}`, CRI_TIMEOUT_MS, context.signal, (signal) =>
        context.host.containerd.removeSandbox(id, signal),
      );
    }
  },
};

const kubeletMounts = mounts("mounts of pods", KUBELET_DIRECTORY, /./);
const podNamespaces = mounts("network namespaces of pods", "/run/netns", /^\/run\/netns\/cni-[0-9a-f-]+$/);

const namespaceFiles: Trace = {
  name: "network namespaces of pods",
  find: async ({ host }) => (await host.files.list("/run/netns")).filter((name) => /^cni-[0-9a-f-]+$/.test(name)),
  remove: async (found, { host }) => {
    for (const name of found) await host.files.remove(`/run/netns/${name}`);
  },
};

const kubeletFiles = trees("files of the kubelet", async ({ host }) =>
  (await host.files.list(KUBELET_DIRECTORY)).map((name) => `${KUBELET_DIRECTORY}/${name}`),
);

const clusterFiles = trees("files of the cluster", async ({ host }) => {
  const found: string[] = [];
  for (const path of BOOTSTRAP_FILES) if ((await host.files.stat(path)) !== undefined) found.push(path);
  return found;
});

const cniFiles = trees("CNI configuration of the cluster", async ({ host }, before) =>
  ownCniFiles(await host.files.list(CNI_DIRECTORY), before).map((name) => `${CNI_DIRECTORY}/${name}`),
);

const cniLeases = trees("addresses given by CNI", async ({ host }) => {
  const found: string[] = [];
  for (const path of ["/var/lib/cni", "/run/flannel"]) if ((await host.files.list(path)).length > 0) found.push(path);
  return found;
});

/** Addresses of services are bound to kube-proxy's own interface; services at other addresses are somebody else's. */
const services: Trace = {
  name: "IPVS services",
  find: async (context) => {
    const text = (await context.host.files.read("/proc/net/ip_vs"))?.toString("utf8") ?? "";
    if (text === "" || !(await links(context)).includes("kube-ipvs0")) return [];
    const bound = await command(context, IP, ["-oneline", "address", "show", "dev", "kube-ipvs0"]);
    const own = new Set([...bound.matchAll(/\binet6? ([0-9a-f.:]+)\//g)].map(([, address = ""]) => serviceAddress(address)));
    return virtualServices(text)
      .filter(({ address }) => own.has(address))
      .map(({ protocol, address, port }) => `${protocol} ${address}:${port}`);
  },
  remove: async (found, context) => {
    for (const service of found) {
      const [protocol = "", address = ""] = service.split(" ");
      await command(context, IPVSADM, ["--delete-service", `--${protocol.toLowerCase()}-service`, address]);
    }
  },
};

const networkLinks: Trace = {
  name: "network interfaces",
  find: async (context, before) => ownLinks(await links(context), before),
  remove: async (found, context) => {
    for (const name of found) await command(context, IP, ["link", "delete", "dev", name]);
  },
};

const IP = ["/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip"];
const IPVSADM = ["/usr/sbin/ipvsadm", "/sbin/ipvsadm"];
const UMOUNT = ["/usr/bin/umount", "/bin/umount"];

const TRACES: readonly Trace[] = [
  kubelet,
  sandboxes,
  kubeletMounts,
  kubeletFiles,
  podNamespaces,
  namespaceFiles,
  services,
  networkLinks,
  rules("iptables", "legacy"),
  rules("ip6tables", "legacy"),
  rules("iptables", "nft"),
  rules("ip6tables", "nft"),
  cniFiles,
  cniLeases,
  clusterFiles,
];

/** Reading the rules of a kind loads its modules: legacy ones are looked for only where the kernel has some. */
function rules(family: "iptables" | "ip6tables", kind: "legacy" | "nft"): Trace {
  const save = [`/usr/sbin/${family}-${kind}-save`, `/sbin/${family}-${kind}-save`];
  const tables = `/proc/net/${family === "iptables" ? "ip" : "ip6"}_tables_names`;
  const read = async (context: StepContext): Promise<string> => {
    if ((await context.host.commands.find(save)) === undefined) return "";
    if (kind === "legacy" && ((await context.host.files.read(tables))?.length ?? 0) === 0) return "";
    const saved = await command(context, save, []).catch((error: unknown) => {
      // A kernel without nftables has no rules in them.
      if (kind === "nft" && (error as Error).message.includes("Protocol not supported")) return "";
      throw error;
    });
    return saved;
  };
  return {
    name: `${family} rules (${kind})`,
    find: async (context) =>
      ownRulesOf(await read(context)).flatMap(({ table, chains, rules: each }) => [...chains, ...each].map((what) => `${table} ${what}`)),
    remove: async (_found, context) => {
      const restore = save.map((path) => path.replace(/save$/, "restore"));
      await command(context, restore, ["--noflush", "--wait=5"], removalOf(ownRulesOf(await read(context))));
    },
  };
}

function mounts(name: string, directory: string, wanted: RegExp): Trace {
  return {
    name,
    find: async ({ host }) => {
      const mountinfo = (await host.files.read("/proc/self/mountinfo", 16 * 2 ** 20))?.toString("utf8") ?? "";
      return mountsBelow(mountinfo, directory).filter((point) => wanted.test(point));
    },
    remove: async (found, context) => {
      for (const point of found) await command(context, UMOUNT, [point]);
    },
  };
}

function trees(name: string, find: Trace["find"]): Trace {
  return {
    name,
    find,
    remove: async (found, { host }) => {
      for (const path of found) await host.files.removeTree(path);
    },
  };
}

async function links({ host }: StepContext): Promise<readonly string[]> {
  return linkNames((await host.files.read("/proc/net/dev"))?.toString("utf8") ?? "");
}

/** @throws Error when there is no such program, or it fails */
async function command(context: StepContext, candidates: readonly string[], args: readonly string[], input?: string): Promise<string> {
  const program = await context.host.commands.find(candidates);
  if (program === undefined) throw new Error(`there is no ${candidates[0]}`);
  const wanted = { program, args, timeoutMs: COMMAND_TIMEOUT_MS, ...(input === undefined ? {} : { input }) };
  const { exitCode, stdout, stderr, timedOut } = await context.host.commands.run(wanted, context.signal);
  if (exitCode === 0) return stdout;
  throw new Error(`${program} ${args.join(" ")} ${timedOut ? "took too long" : `ended with ${exitCode}`}: ${stderr.trim().slice(0, 300)}`);
}

function shown(found: readonly string[]): string {
  return found.length > 8 ? `${found.slice(0, 8).join(", ")} and ${found.length - 8} more` : found.join(", ");
}
