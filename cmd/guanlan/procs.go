package main

import "runtime"

// spareProcs is by how many the threads that run Go code exceed the cores.
const spareProcs = 1

// addProcs lets more threads run Go code than there are cores. Merges of the
// stores keep every core busy for tens of milliseconds at a time; the runtime
// lets a request that comes in meanwhile wait its turn behind them, while the
// kernel gives a thread that wakes up a core at once. ADR 0010 has figures.
//
// Under a CPU quota, threads beyond it would only be throttled together, and the
// runtime must be left to follow changes of the quota.
func addProcs() {
	if n := runtime.GOMAXPROCS(0); n == runtime.NumCPU() {
		runtime.GOMAXPROCS(n + spareProcs)
	}
}
