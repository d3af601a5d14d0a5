// Package hook is what woven code holds on to: the request that a goroutine
// works for, and a last call at the exit of the process. It becomes the standard
// package guanlan/hook of woven programs, importable from the standard library,
// vendored and module packages alike; therefore it imports next to nothing.
//
// # The request of a goroutine
//
// A server calls [SetLocal] with its entry of a request, at the start of it, and
// gives back what was there before at its end ([Save], [State.Restore]). From then
// on [Local] returns the entry in this goroutine and in all that it starts,
// directly or indirectly:
//
//   - a goroutine inherits the entry of the one whose go statement made it;
//   - the function of time.AfterFunc and of context.AfterFunc has the entry of the
//     caller of AfterFunc, whoever lets the timer fire or cancels;
//   - the body of iter.Pull has the entry of whoever calls next, each time anew;
//   - goroutines that the runtime makes for itself (finalizers, cleanups, garbage
//     collector) and callbacks from threads of C have none.
//
// # When it is lost
//
// A goroutine may have been started for one request and then serve all of them: a
// pool that starts its workers when they are first needed. So inheriting is a
// guess, and it ends when it is disproved: an entry that was inherited, not set, is
// dropped when the goroutine
//
//   - receives from a channel (also by select, range or reflect) on which anything
//     was ever sent by a goroutine with another entry or with none; or
//   - is woken from sync.Cond.Wait by such a goroutine.
//
// Values of timers and what a closed channel gives do not count, neither do sends of
// goroutines that declared themselves [Neutral]. An entry that a goroutine set
// itself is never dropped.
//
// The price is that answers look like work: a goroutine that was started within a
// request, asks a goroutine of nobody's and receives its answer over a channel loses
// the entry. Where a library does that within a call, the call is woven to keep it
// ([Save] at its start, [State.Restore] at its end): what a goroutine works for is
// the same before and after a call, whatever happens inside.
//
// # Where it is not sound
//
// Only channels and conditions are watched. A goroutine that was started within a
// request keeps its entry, though it works for others, if it gets their work
//
//   - from a queue under a mutex or of atomics, without waiting on a channel or a
//     condition between (with sync.Cond: until it first waits);
//   - from the network or a pipe: a loop that accepts connections or reads messages,
//     first started by a request;
//   - by looking at the clock (time.Ticker) or at shared data;
//   - through a channel on which a goroutine sends that is wrong itself, for one of
//     the reasons above.
//
// So whoever uses an entry lets it die with its request: an entry of a request that
// has ended must be taken for none. That bounds what remains: for a wrong
// attribution a worker must have been started by a request which still runs.
//
// # Pools
//
// Where a pool takes a function from its caller, [Carry] binds the function to the
// caller's entry, and the worker may be whoever it is.
package hook
