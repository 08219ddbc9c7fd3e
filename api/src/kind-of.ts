/** What people type for a kind. */
import { type Kind, kinds } from "./objects.ts";

const KIND_BY_NAME: ReadonlyMap<string, Kind> = new Map(
  (Object.keys(kinds) as Kind[]).flatMap((kind) =>
    [kind, kinds[kind].plural, ...kinds[kind].shortNames].map((name): [string, Kind] => [name.toLowerCase(), kind]),
  ),
);

/** The kind of that name, plural or short name, in any case; undefined when there is none. */
export function kindOf(name: string): Kind | undefined {
  return KIND_BY_NAME.get(name.toLowerCase());
}
