/**
 * Which rules and chains of an iptables-save are Kubernetes' and its networks', and what takes just these away. Pure.
 * Whoever else has rules there keeps them: nothing is flushed as a whole.
 */

const OWN_CHAIN = /^(KUBE-|CNI-|CNI_|cali-|CALI-|FLANNEL|CILIUM_|OLD_CILIUM_|WEAVE)/;
/** In the built-in chains Calico and older flannels accept packets by rules of their own, which they mark. */
const OWN_COMMENT = /^(cali:|flanneld )/;

export interface OwnRules {
  readonly table: string;
  /** Names of chains. */
  readonly chains: readonly string[];
  /** Rules in chains of others, as iptables-save prints them, "-A POSTROUTING ...". */
  readonly rules: readonly string[];
}

/** @param saved what iptables-save (or ip6tables-save) printed; tables without any of ours are left out */
export function ownRulesOf(saved: string): readonly OwnRules[] {
  const found: { table: string; chains: string[]; rules: string[] }[] = [];
  for (const line of saved.split("\n")) {
    if (line.startsWith("*")) found.push({ table: line.slice(1).trim(), chains: [], rules: [] });
    const table = found.at(-1);
    if (table === undefined) continue;
    const chain = /^:(\S+) /.exec(line)?.[1];
    if (chain !== undefined && OWN_CHAIN.test(chain)) table.chains.push(chain);
    if (line.startsWith("-A ") && isOurs(wordsOf(line))) table.rules.push(line);
  }
  return found.filter(({ chains, rules }) => chains.length > 0 || rules.length > 0);
}

/** @returns input of iptables-restore --noflush; each table is changed at once, or not at all */
export function removalOf(own: readonly OwnRules[]): string {
  return own
    .map(({ table, chains, rules }) =>
      [
        `*${table}`,
        // Naming a chain empties it, so that none refers to another when they go.
        ...chains.map((chain) => `:${chain} - [0:0]`),
        ...rules.map((rule) => rule.replace(/^-A /, "-D ")),
        ...chains.map((chain) => `-X ${chain}`),
        "COMMIT",
        "",
      ].join("\n"),
    )
    .join("");
}

/** A rule in a chain of somebody else that leads into one of ours, or bears our mark. */
function isOurs(words: readonly string[]): boolean {
  if (OWN_CHAIN.test(words[1] ?? "")) return false;
  return words.some((word, index) => {
    const option = words[index - 1];
    if (option === "-j" || option === "-g" || option === "--jump" || option === "--goto") return OWN_CHAIN.test(word);
    return option === "--comment" && OWN_COMMENT.test(word);
  });
}

/** As iptables-save quotes: double quotes around words with blanks, a backslash before quotes and backslashes in them. */
function wordsOf(rule: string): readonly string[] {
  return [...rule.matchAll(/"((?:[^"\\]|\\.)*)"|(\S+)/g)].map(([, quoted, plain]) => quoted?.replace(/\\(.)/g, "$1") ?? plain ?? "");
}
