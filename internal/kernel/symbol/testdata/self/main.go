// Program self prints what its own runtime knows about its addresses, then
// waits until its input ends.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"reflect"
	"runtime"
	"sort"
	"strconv"
	"strings"
)

var out = bufio.NewWriter(os.Stdout)

var pcs [8]uintptr

var here = pcs[:]

// inner and middle are inlined into outer.
func inner() { runtime.Callers(1, here) }

func middle() {
	inner()
}

//go:noinline
func outer() {
	middle()
	here = pcs[:]
}

func describe(kind string, pc uintptr) {
	// CallersFrames takes return addresses: it looks at the byte before.
	fr, _ := runtime.CallersFrames([]uintptr{pc + 1}).Next()
	fmt.Fprintf(out, "%s %x %s %s:%d\n", kind, pc, fr.Function, fr.File, fr.Line)
}

func main() {
	for _, f := range []interface{}{
		outer, main, fmt.Fprintf, fmt.Sscan, fmt.Sprint, strconv.ParseFloat, strconv.Quote, strconv.FormatFloat, sort.Strings,
		strings.Split, strings.Map, (*strings.Builder).WriteString, (*bufio.Reader).ReadLine, (*bufio.Writer).Flush, os.Open, os.ReadDir,
		runtime.GC, runtime.ReadMemStats, runtime.Gosched, reflect.DeepEqual, reflect.New, io.Copy,
	} {
		entry := reflect.ValueOf(f).Pointer()
		for pc := entry; pc < entry+800; pc++ {
			g := runtime.FuncForPC(pc)
			if g == nil || !inside(pc, entry) {
				break
			}
			describe("pc", pc)
		}
	}
	outer()
	for _, pc := range pcs[:3] {
		describe("stack", pc-1)
	}
	fmt.Fprintln(out, "end")
	out.Flush()
	io.Copy(io.Discard, os.Stdin)
}

// inside says that pc belongs to the code of the function at entry. What
// follows the code up to the next function has no file.
func inside(pc, entry uintptr) bool {
	fr, _ := runtime.CallersFrames([]uintptr{pc + 1}).Next()
	return fr.Entry == entry && fr.File != "?"
}
