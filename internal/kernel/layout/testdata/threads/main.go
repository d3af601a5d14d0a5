// Command threads has variables of threads in C beside that of the runtime.
package main

/*
static __thread int counter[5];
static int bump(int i) { return counter[i % 5] += i; }
*/
import "C"
import (
	"context"
	"fmt"
	"runtime/pprof"
)

func main() {
	pprof.Do(context.Background(), pprof.Labels("a", "b"), func(context.Context) { fmt.Println(C.bump(3)) })
}
