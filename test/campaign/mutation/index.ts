/** Plants faults one by one where mistakes would harm a fleet most, and counts how many the tests find. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { seededRandom } from "@drover/lifecycle";
import type { Campaign } from "../campaign.ts";
import { equivalentFaults } from "./equivalent-faults.ts";
import { type Fault, faultsIn, planted } from "./faults.ts";
import { type Subject, subjects } from "./subjects.ts";
import { openWorkshop, type Workshop } from "./workshop.ts";

const WORKSHOPS = 3;
const WANTED_SHARE = 0.9;
const FULL_COUNT = 200;

interface Planted extends Subject {
  readonly source: string;
  readonly fault: Fault;
}

export const mutationCampaign: Campaign = {
  name: "mutation",
  summary: "one fault at a time planted in decide(), its waves and budgets, health and cells: the tests find at least 90 of 100",
  fullCount: FULL_COUNT,
  async run({ count, seed, say }) {
    const survivors: Planted[] = [];
    const first = await openWorkshop();
    const workshops = [first];
    let all: readonly Planted[] = [];
    let chosen: readonly Planted[] = [];
    try {
      all = await allFaults(first.top);
      chosen = sample(all, count, seed);
      while (workshops.length < WORKSHOPS) workshops.push(await openWorkshop(first.top));
      await requireSound(first, chosen);
      const rest = [...chosen];
      await Promise.all(
        workshops.map(async (workshop) => {
          for (let next = rest.pop(); next !== undefined; next = rest.pop()) {
            const { passed } = await workshop.tryWith(next.file, planted(next.source, next.fault), next.tests);
            if (passed) survivors.push(next);
          }
        }),
      );
    } finally {
      await Promise.all(workshops.map((workshop) => workshop.close()));
    }
    for (const { file, fault } of survivors.sort((a, b) => (a.file < b.file ? -1 : 1) || a.fault.line - b.fault.line)) {
      say(`not found: ${file}:${fault.line}: ${fault.name}: ${fault.source}`);
    }
    const share = 1 - survivors.length / chosen.length;
    say(
      `${chosen.length - survivors.length} of ${chosen.length} found (${(100 * share).toFixed(1)} %); ${all.length} faults could be planted`,
    );
    const failed = share < wantedOf(chosen.length) ? survivors.length : 0;
    return { passed: count - failed, failed };
  },
};

/** A few drawn by lot may be the hard ones: of less than the full count, two standard deviations of the draw are borne. */
function wantedOf(count: number): number {
  if (count >= FULL_COUNT) return WANTED_SHARE;
  return WANTED_SHARE - 2 * Math.sqrt((WANTED_SHARE * (1 - WANTED_SHARE)) / count);
}

/** Without a fault all tests pass there: or every fault would count as found. */
async function requireSound(workshop: Workshop, chosen: readonly Planted[]): Promise<void> {
  const tests = [...new Set(chosen.flatMap((each) => each.tests.flat()))];
  const { file, source } = chosen[0]!;
  const { passed, said } = await workshop.tryWith(file, source, [tests]);
  if (!passed) throw new Error(`without any fault the tests fail already:\n${said.slice(-4_000)}`);
}

async function allFaults(top: string): Promise<readonly Planted[]> {
  const perSubject = await Promise.all(
    (await subjects(top)).map(async (subject) => {
      const source = await readFile(join(top, subject.file), "utf8");
      return faultsIn(source).map((fault) => ({ ...subject, source, fault }));
    }),
  );
  return perSubject.flat().filter(({ file, fault }) => !isEquivalent(file, fault));
}

function isEquivalent(file: string, { source, name }: Fault): boolean {
  return equivalentFaults.some((each) => file.endsWith(`/${each.file}`) && each.source === source && each.fault === name);
}

function sample(all: readonly Planted[], count: number, seed: number): readonly Planted[] {
  const random = seededRandom(seed);
  return all
    .map((planted) => ({ planted, key: random.unit() }))
    .sort((a, b) => a.key - b.key)
    .slice(0, count)
    .map(({ planted }) => planted);
}
