// Package bench measures what is woven in a Go that is not, in one that is, and in
// one that is within a request (-tags request).
package bench

import (
	"context"
	"iter"
	"runtime"
	"sync"
	"testing"
	"time"
)

// within runs a benchmark within a request.
var within = func(f func()) { f() }

func BenchmarkGo(b *testing.B) {
	within(func() {
		var wg sync.WaitGroup
		f := func() { wg.Done() }
		for b.Loop() {
			wg.Add(1)
			go f()
			wg.Wait()
		}
	})
}

func BenchmarkBuffered(b *testing.B) {
	within(func() {
		c := make(chan int, 1)
		for b.Loop() {
			c <- 1
			<-c
		}
	})
}

func BenchmarkUnbuffered(b *testing.B) {
	within(func() {
		there, back := make(chan int), make(chan int)
		go func() {
			for v := range there {
				back <- v
			}
		}()
		for b.Loop() {
			there <- 1
			<-back
		}
		close(there)
	})
}

func BenchmarkSelect(b *testing.B) {
	within(func() {
		c, never := make(chan int, 1), make(chan int)
		for b.Loop() {
			select {
			case c <- 1:
			case <-never:
			}
			select {
			case <-c:
			case <-never:
			}
		}
	})
}

func BenchmarkNonblocking(b *testing.B) {
	within(func() {
		c := make(chan int)
		for b.Loop() {
			select {
			case <-c:
			default:
			}
		}
	})
}

func BenchmarkMake(b *testing.B) {
	within(func() {
		b.ReportAllocs()
		var c chan *int
		for b.Loop() {
			c = make(chan *int)
		}
		runtime.KeepAlive(c)
	})
}

func BenchmarkPull(b *testing.B) {
	within(func() {
		next, stop := iter.Pull(func(yield func(int) bool) {
			for yield(1) {
			}
		})
		defer stop()
		for b.Loop() {
			next()
		}
	})
}

func BenchmarkWithTimeout(b *testing.B) {
	within(func() {
		b.ReportAllocs()
		for b.Loop() {
			_, cancel := context.WithTimeout(context.Background(), time.Hour)
			cancel()
		}
	})
}
