"use strict";
// sessionFetch is fetch that refreshes the session if the answer is 401 and the access token is
// no longer good, and tries again: one refresh for all tabs of the browser, and for this tab
// where there are no Web Locks.
{
  const path = "/session/";
  let last = Promise.resolve();
  const alone = navigator.locks ? f => navigator.locks.request(path, f) : f => (last = last.then(f, f));
  const own = (name, method) => fetch(path + name, {method, signal: AbortSignal.timeout(10000)}); // others wait
  const refresh = async () => { // returns the answer of a refresh that failed
    if ((await own("access", "GET")).ok) return; // another has refreshed meanwhile
    const answer = await own("refresh", "POST");
    if (!answer.ok) return answer;
  };
  globalThis.sessionFetch = async (input, init) => {
    const request = new Request(input, init), send = () => fetch(request.clone());
    const first = await send();
    if (first.status !== 401 || new URL(request.url).origin !== location.origin) return first;
    const failed = await alone(refresh);
    return failed ? failed.status === 401 ? first : failed : send();
  };
}
