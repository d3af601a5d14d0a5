// Package local is built with a woven Go and looks at what its goroutines work for.
package local

import (
	"context"
	"iter"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"guanlan/hook"
)

type entry struct {
	hook.Header
	id    int
	ended atomic.Bool
}

// run runs f as a server runs a handler.
func run(id int, f func()) {
	was := hook.Save()
	defer was.Restore()
	e := &entry{id: id}
	defer e.ended.Store(true)
	hook.SetLocal(unsafe.Pointer(e))
	f()
}

// now is the number of the request that this goroutine works for; 0 for none.
func now() int {
	if e := (*entry)(hook.Local()); e != nil && !e.ended.Load() {
		return e.id
	}
	return 0
}

// in runs f in a goroutine that was started within a request, and returns what
// the goroutine works for afterwards. The request runs for as long.
func in(id int, f func()) (got int) {
	run(id, func() {
		var done sync.WaitGroup
		done.Add(1)
		go func() {
			defer done.Done()
			f()
			got = now()
		}()
		done.Wait()
	})
	return got
}

func want(t *testing.T, what string, got, want int) {
	t.Helper()
	if got != want {
		t.Errorf("%s: works for %d, want %d", what, got, want)
	}
}

func TestGo(t *testing.T) {
	want(t, "before", now(), 0)
	var inner, grandchild int
	child := in(1, func() {
		grandchild = in(2, func() { run(3, func() { inner = now() }) })
	})
	want(t, "child", child, 1)
	want(t, "child of another", grandchild, 2)
	want(t, "its own", inner, 3)
	want(t, "after", now(), 0)
	want(t, "cleared", in(1, func() { hook.SetLocal(nil) }), 0)
}

// A goroutine that outlives its request works for nobody.
func TestDeath(t *testing.T) {
	end, got := make(chan int), make(chan int, 2)
	run(1, func() {
		go func() {
			got <- now()
			<-end // closed: nobody sends
			got <- now()
		}()
		want(t, "during", <-got, 1)
	})
	close(end)
	want(t, "after", <-got, 0)
	// Its struct is used again by goroutines that inherit nothing.
	for range 1000 {
		go func() { got <- now() }()
		want(t, "new", <-got, 0)
	}
}

// ops receive once from a channel that others have sent on.
var ops = map[string]func(c chan int){
	"receive":    func(c chan int) { <-c },
	"receive ok": func(c chan int) { _, _ = <-c },
	"range": func(c chan int) {
		for range c {
			break
		}
	},
	"select": func(c chan int) {
		select {
		case <-c:
		case <-make(chan int):
		}
	},
	"single": func(c chan int) {
		select {
		case <-c:
		}
	},
	"nonblocking": func(c chan int) {
		for {
			select {
			case <-c:
				return
			default:
				runtime.Gosched()
			}
		}
	},
	"nb of two": func(c chan int) {
		for {
			select {
			case <-c:
				return
			case <-make(chan int):
			default:
				runtime.Gosched()
			}
		}
	},
	"reflect": func(c chan int) { reflect.ValueOf(c).Recv() },
	"reflect try": func(c chan int) {
		for {
			if v, _ := reflect.ValueOf(c).TryRecv(); v.IsValid() {
				return
			}
			runtime.Gosched()
		}
	},
	"reflect sel": func(c chan int) {
		reflect.Select([]reflect.SelectCase{{Dir: reflect.SelectRecv, Chan: reflect.ValueOf(c)}, {Dir: reflect.SelectRecv, Chan: reflect.ValueOf(make(chan int))}})
	},
}

var sends = map[string]func(c chan int){
	"send": func(c chan int) { c <- 1 },
	"select": func(c chan int) {
		select {
		case c <- 1:
		case <-make(chan int):
		}
	},
	"nonblocking": func(c chan int) {
		for {
			select {
			case c <- 1:
				return
			default:
				runtime.Gosched()
			}
		}
	},
	"nb of two": func(c chan int) {
		for {
			select {
			case c <- 1:
				return
			case <-make(chan int):
			default:
				runtime.Gosched()
			}
		}
	},
	"reflect": func(c chan int) { reflect.ValueOf(c).Send(reflect.ValueOf(1)) },
	"reflect sel": func(c chan int) {
		reflect.Select([]reflect.SelectCase{{Dir: reflect.SelectSend, Chan: reflect.ValueOf(c), Send: reflect.ValueOf(1)}, {Dir: reflect.SelectRecv, Chan: reflect.ValueOf(make(chan int))}})
	},
}

// await returns when n goroutines more than before are parked: it gives others
// the time to park. If they do not, the test still holds: another path is tested.
func await() {
	for range 50 {
		runtime.Gosched()
	}
}

func TestChannels(t *testing.T) {
	for recvName, recv := range ops {
		for sendName, send := range sends {
			if (recvName == "nonblocking" || recvName == "nb of two" || recvName == "reflect try") && (sendName == "nonblocking" || sendName == "nb of two") {
				continue // they would never meet without a buffer
			}
			for size := range 3 {
				for _, early := range []bool{false, true} {
					for sender, wanted := range []int{0: 0, 1: 1, 2: 0} { // works for nobody, for the same, for another
						c := make(chan int, size)
						var sent sync.WaitGroup
						got := in(1, func() {
							sent.Add(1)
							me := hook.Save()
							go func() {
								defer sent.Done()
								switch sender {
								case 0:
									hook.SetLocal(nil)
								case 1:
									me.Restore()
								}
								f := func() { send(c) }
								if sender == 2 {
									run(2, f)
								} else {
									f()
								}
							}()
							if early {
								await()
							}
							recv(c)
						})
						sent.Wait()
						if got != wanted {
							t.Errorf("%s from %s, buffer %d, sender %d: works for %d, want %d", recvName, sendName, size, sender, got, wanted)
						}
					}
				}
			}
		}
	}
}

func TestMixed(t *testing.T) {
	c := make(chan int, 3)
	run(2, func() { c <- 1 })
	<-c
	got := in(1, func() {
		c <- 1 // once others have sent, it is not known for whom a value is
		<-c
	})
	want(t, "after another", got, 0)
	c = make(chan int, 3)
	got = in(1, func() {
		c <- 1
		c <- 1
		<-c
		want(t, "own", now(), 1)
		hook.Carry(func() { c <- 1 })()
		<-c
	})
	want(t, "only its own", got, 1)
	// What a goroutine has set itself it keeps.
	run(1, func() {
		for range 2 {
			run(2, func() { c <- 1 })
			<-c
		}
		want(t, "set", now(), 1)
	})
	// A full buffer: what is received is not what the parked one sends.
	got = in(1, func() {
		c := make(chan int, 1)
		c <- 1
		var sent sync.WaitGroup
		sent.Add(1)
		go func() { defer sent.Done(); run(2, func() { c <- 2 }) }()
		await()
		<-c
		<-c
		sent.Wait()
	})
	want(t, "full buffer", got, 0)
}

func TestClosed(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() { await(); cancel() }()
	want(t, "closed", in(1, func() {
		<-ctx.Done()
		<-ctx.Done()
		select {
		case <-ctx.Done():
		case <-make(chan int):
		}
	}), 1)
}

func TestTimers(t *testing.T) {
	want(t, "After", in(1, func() { <-time.After(time.Millisecond) }), 1)
	want(t, "NewTimer, late", in(1, func() {
		c := time.NewTimer(time.Nanosecond)
		time.Sleep(2 * time.Millisecond)
		<-c.C
	}), 1)
	want(t, "Tick", in(1, func() {
		c := time.NewTicker(time.Millisecond)
		defer c.Stop()
		for range 3 {
			select {
			case <-c.C:
			case <-make(chan int):
			}
		}
	}), 1)
	// Functions of timers run for who made the timer, whoever runs meanwhile.
	stop := make(chan bool)
	var busy sync.WaitGroup
	for range 4 {
		busy.Add(1)
		go run(9, func() {
			defer busy.Done()
			for {
				select {
				case <-stop:
					return
				default:
					time.Sleep(10 * time.Microsecond)
				}
			}
		})
	}
	got := make(chan int, 1)
	for i := range 200 {
		f := func() { got <- now() }
		if i%2 == 0 {
			time.AfterFunc(50*time.Microsecond, f)
			want(t, "AfterFunc of nobody", <-got, 0)
		} else {
			run(1, func() {
				time.AfterFunc(50*time.Microsecond, f)
				want(t, "AfterFunc", <-got, 1)
			})
		}
	}
	close(stop)
	busy.Wait()
}

func TestContextAfterFunc(t *testing.T) {
	got := make(chan int, 1)
	for id := range 3 {
		ctx, cancel := context.WithCancel(context.Background())
		f := func() {
			context.AfterFunc(ctx, func() { got <- now() })
			run(9, cancel)
			want(t, "AfterFunc", <-got, id)
		}
		if id == 0 {
			f()
		} else {
			run(id, f)
		}
	}
}

func TestPull(t *testing.T) {
	body := func(yield func(int) bool) {
		for yield(now()) {
		}
		now()
	}
	var next func() (int, bool)
	var stop func()
	run(1, func() { next, stop = iter.Pull(iter.Seq[int](body)) })
	get := func() int { v, _ := next(); return v }
	for i := range 3 {
		want(t, "nobody's", get(), 0)
		run(2, func() { want(t, "2", get(), 2) })
		want(t, "child of 3", in(3, func() { want(t, "3", get(), 3) }), 3)
		_ = i
	}
	stop()
	// One within the other.
	run(4, func() {
		outer, stop := iter.Pull(func(yield func(int) bool) {
			inner, stop := iter.Pull(iter.Seq[int](body))
			defer stop()
			for {
				v, _ := inner()
				if now() != v || !yield(v) {
					return
				}
			}
		})
		defer stop()
		for range 3 {
			v, ok := outer()
			want(t, "nested", v, 4)
			if !ok {
				t.Error("outer and inner differ")
			}
		}
	})
	// A body that sets its own keeps it, and its caller does not get it.
	run(5, func() {
		next, stop := iter.Pull(func(yield func(int) bool) {
			run(6, func() { yield(now()); yield(now()) })
		})
		defer stop()
		for range 2 {
			v, _ := next()
			want(t, "own", v, 6)
			want(t, "caller", now(), 5)
		}
	})
}

// Finalizers and cleanups run for nobody, also when the goroutine for them is
// started within a request.
func TestFinalizer(t *testing.T) {
	got := make(chan int, 1)
	run(1, func() {
		p := new([64]byte)
		runtime.SetFinalizer(p, func(*[64]byte) { got <- now() })
		p = nil
		deadline := time.After(10 * time.Second)
		for {
			runtime.GC()
			select {
			case v := <-got:
				want(t, "finalizer", v, 0)
				return
			case <-deadline:
				t.Fatal("no finalizer was run")
			case <-time.After(time.Millisecond):
			}
		}
	})
}

func TestCond(t *testing.T) {
	for sender, wanted := range []int{0, 1, 0} {
		for _, all := range []bool{false, true} {
			var mu sync.Mutex
			c := sync.NewCond(&mu)
			ready, waits := false, false
			got := in(1, func() {
				go func() {
					f := func() {
						for {
							mu.Lock()
							if waits {
								ready = true
								mu.Unlock()
								break
							}
							mu.Unlock()
							runtime.Gosched()
						}
						await()
						if all {
							c.Broadcast()
						} else {
							c.Signal()
						}
					}
					switch sender {
					case 0:
						hook.SetLocal(nil)
						f()
					case 1:
						f()
					case 2:
						run(2, f)
					}
				}()
				mu.Lock()
				for !ready {
					waits = true
					c.Wait()
				}
				mu.Unlock()
			})
			// Woken before it is in the list, it does not know by whom.
			if got != wanted && got != 0 {
				t.Errorf("sender %d: works for %d, want %d", sender, got, wanted)
			}
		}
	}
}

func TestCarry(t *testing.T) {
	var f, g, none func()
	var got int
	none = hook.Carry(func() { got = now() })
	run(1, func() {
		f = hook.Carry(func() { got = now() })
		err := hook.CarryE(func() error { got = now(); return os.ErrExist })
		run(2, func() {
			if err() != os.ErrExist || got != 1 {
				t.Errorf("CarryE: works for %d", got)
			}
			f()
			want(t, "carried", got, 1)
			none()
			want(t, "carried nothing", got, 0)
			want(t, "afterwards", now(), 2)
		})
		g = hook.Carry(func() { panic("x") })
		c := make(chan int, 2)
		run(2, func() { c <- 1 })
		hook.Carry(func() { <-c; got = now() })()
		want(t, "carried loop", got, 0)
		want(t, "afterwards", now(), 1)
		run(2, func() {
			defer func() { recover(); want(t, "after a panic", now(), 2) }()
			g()
		})
	})
	f()
	want(t, "after its request", got, 0)
}

func TestNeutral(t *testing.T) {
	ask, answer := make(chan int), make(chan int, 1)
	run(7, func() {
		go func() {
			hook.Neutral()
			for range ask {
				answer <- now()
			}
		}()
	})
	for _, size := range []int{0, 1} {
		answer = make(chan int, size)
		want(t, "asked", in(1, func() { ask <- 1; want(t, "neutral", <-answer, 0) }), 1)
	}
	close(ask)
}

// A pool that a request starts is nobody's.
func TestLazyPool(t *testing.T) {
	jobs, got := make(chan int), make(chan int)
	run(1, func() {
		for range 3 {
			go func() {
				for range jobs {
					got <- now()
				}
			}()
		}
		jobs <- 1
		want(t, "the first job", <-got, 1)
		for range 100 {
			run(2, func() { jobs <- 1; want(t, "job of another", <-got, 0) })
			jobs <- 1
			want(t, "job of the first", <-got, 0)
		}
	})
	close(jobs)
}

func TestAtExit(t *testing.T) {
	if os.Getenv("EXIT") != "" {
		hook.AtExit(func() { os.Stdout.WriteString("first\n") })
		hook.AtExit(func() { os.Stdout.WriteString("last\n") })
		os.Exit(3)
	}
	c := exec.Command(os.Args[0], "-test.run=^TestAtExit$")
	c.Env = append(os.Environ(), "EXIT=1")
	out, err := c.Output()
	if string(out) != "last\nfirst\n" || c.ProcessState.ExitCode() != 3 {
		t.Errorf("%q, %v", out, err)
	}
}

func BenchmarkLocal(b *testing.B) {
	run(1, func() {
		for b.Loop() {
			hook.Local()
		}
	})
}

func BenchmarkSaveRestore(b *testing.B) {
	run(1, func() {
		for b.Loop() {
			hook.Save().Restore()
		}
	})
}

func BenchmarkCarry(b *testing.B) {
	run(1, func() {
		b.ReportAllocs()
		for b.Loop() {
			hook.Carry(func() {})()
		}
	})
}
