"use strict";
// sessionFetch is fetch that refreshes the session if the answer is 401, and tries again: one
// refresh for all tabs of the browser, and for this tab where there are no Web Locks.
{
  const url = "/session/refresh";
  let last = Promise.resolve();
  const alone = navigator.locks ? f => navigator.locks.request(url, f) : f => (last = last.then(f, f));
  globalThis.sessionFetch = async (input, init) => {
    const request = new Request(input, init), send = () => fetch(request.clone());
    const first = await send();
    if (first.status !== 401 || new URL(request.url).origin !== location.origin) return first;
    return alone(async () => {
      const second = await send(); // another may have refreshed meanwhile
      if (second.status !== 401) return second;
      const refreshed = await fetch(url, {method: "POST"});
      return refreshed.ok ? send() : refreshed.status === 401 ? second : refreshed;
    });
  };
}
