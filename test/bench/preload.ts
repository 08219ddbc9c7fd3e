/**
 * Preloading by the images step, against `ctr images pull` one after the other, from a registry that answers late; and what a
 * very large image does to the others. Each measurement has a machine of its own, and rounds go through all of them in turn, so
 * that what else the machine does falls on each alike.
 */
import { PreloadBed, type BenchImage } from "./preload/preload-bed.ts";
import { median } from "./process-cost.ts";
import type { Scenario } from "./scenario.ts";

const DELAY_MS = 100;
const ROUNDS = 5;
const SMALL = { count: 20, bytes: 5_000_000, layers: 4 };
const LARGE = { bytes: 1_000_000_000, layers: 8 };

interface Round {
  readonly theirsMs: number;
  readonly oursMs: number;
  readonly aloneMs: number;
  readonly togetherMs: number;
  readonly unpackingMs: number;
  /** How long the large one went on being unpacked while the others came. */
  readonly overlapMs: number;
}

export const preloadScenario: Scenario = {
  name: "preload",
  summary: "20 images of 5 MB behind 100 ms, by our step and by ctr one after the other; 19 of them beside one of 1 GB",
  async run({ say }) {
    say(`making ${SMALL.count} images of ${SMALL.bytes / 1e6} MB and one of ${LARGE.bytes / 1e9} GB`);
    const wanted = Array.from({ length: SMALL.count }, (_, index) => `team/app-${index + 1}:v1=${SMALL.bytes}/${SMALL.layers}`);
    await using bed = await PreloadBed.make([...wanted, `team/large:v1=${LARGE.bytes}/${LARGE.layers}`], DELAY_MS);
    const small = bed.images.slice(0, SMALL.count);
    const large = bed.images[SMALL.count]!;
    const rounds: Round[] = [];
    while (rounds.length < ROUNDS) {
      rounds.push(await playRound(bed, small, large));
      const told = Object.entries(rounds.at(-1)!).map(([name, ms]) => `${name.replace(/Ms$/, "")} ${(ms as number).toFixed(0)}`);
      say(`round ${rounds.length} of ${ROUNDS}, ms: ${told.join(", ")}`);
    }
    const middle = (value: (round: Round) => number): number => median(rounds.map((round) => value(round)));
    const containerd = await bed.withMachine((machine) => machine.version());
    return {
      scenario: "preload",
      tier: "real machines (namespaces), each with a real containerd; a real registry behind a proxy of our own; our images step",
      conditions: {
        containerd,
        rounds: ROUNDS,
        delayMs: DELAY_MS,
        small: `${SMALL.count} x ${SMALL.bytes / 1e6} MB, ${SMALL.layers} layers each, incompressible, none shared`,
        large: `${LARGE.bytes / 1e9} GB, ${LARGE.layers} layers, incompressible`,
        ctrOneAfterTheOtherMs: middle(({ theirsMs }) => theirsMs).toFixed(0),
        oursMs: middle(({ oursMs }) => oursMs).toFixed(0),
        nineteenAloneMs: middle(({ aloneMs }) => aloneMs).toFixed(0),
        nineteenWithLargeMs: middle(({ togetherMs }) => togetherMs).toFixed(0),
        nineteenWhileUnpackingMs: middle(({ unpackingMs }) => unpackingMs).toFixed(0),
        unpackingGoesOnForMs: middle(({ overlapMs }) => overlapMs).toFixed(0),
      },
      figures: [
        { name: "preload_ratio", value: middle(({ theirsMs, oursMs }) => theirsMs / oursMs), unit: "x", limit: 1.5, isFloor: true },
        { name: "preload_big_ratio", value: middle(({ togetherMs, aloneMs }) => togetherMs / aloneMs), unit: "x", limit: 1.2 },
        { name: "preload_unpacking_ratio", value: middle(({ unpackingMs, aloneMs }) => unpackingMs / aloneMs), unit: "x", limit: 2 },
      ],
    };
  },
};

async function playRound(bed: PreloadBed, small: readonly BenchImage[], large: BenchImage): Promise<Round> {
  const nineteen = small.slice(1);
  const theirsMs = await bed.withMachine((machine) => machine.ctrPulls(small));
  const { wholeMs: oursMs } = await bed.withMachine((machine) => machine.preload(small));
  const { listedMs: aloneMs } = await bed.withMachine((machine) => machine.preload(nineteen));
  const { listedMs: togetherMs } = await bed.withMachine((machine) => machine.preload([large, ...nineteen], nineteen));
  const unpacking = await bed.withMachine(async (machine) => {
    await machine.fetchContent(large);
    const { unpackedAt } = await machine.pullUntilUnpacking(large);
    const startedAt = performance.now();
    const { listedMs } = await machine.preload([large, ...nineteen], nineteen);
    return { unpackingMs: listedMs, overlapMs: (await unpackedAt) - startedAt };
  });
  return { theirsMs, oursMs, aloneMs, togetherMs, ...unpacking };
}
