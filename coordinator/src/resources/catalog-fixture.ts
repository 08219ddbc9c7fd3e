/** A catalog that follows a store: for tests only. */
import type { Store } from "../store/store.ts";
import { Catalog } from "./catalog.ts";

export interface FollowedCatalog extends AsyncDisposable {
  readonly catalog: Catalog;
}

/** Read once already. */
export async function followedCatalog(store: Store): Promise<FollowedCatalog> {
  const catalog = new Catalog(store);
  const ended = new AbortController();
  const following = catalog.run(ended.signal);
  await catalog.reached(0);
  return {
    catalog,
    async [Symbol.asyncDispose]() {
      ended.abort();
      await following;
    },
  };
}
