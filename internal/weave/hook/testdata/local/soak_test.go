package local

import (
	"context"
	"iter"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// soak is what the requests share. Each part is started by whichever request
// needs it first, and thrown away now and then, so that the next one starts it.
type soak struct {
	t                  *testing.T
	jobs               lazy[chan job]
	idle               lazy[chan chan job]
	pulled             lazy[*pulled]
	channels           sync.Pool // of chan int with a buffer
	wrong, right, lost [kinds]atomic.Int64
}

const (
	child = iota
	pooled
	dispatched
	timer
	afterFunc
	reused
	group
	pull
	kinds
)

var kindNames = [kinds]string{"child", "pool", "dispatcher", "time.AfterFunc", "context.AfterFunc", "channel from sync.Pool", "group", "iter.Pull"}

type job struct {
	id   int
	done func()
}

type pulled struct {
	mu   sync.Mutex
	next func() (int, bool)
}

// lazy makes a value on first use and anew when it has been used often.
type lazy[T any] struct {
	mu    sync.Mutex
	value T
	uses  int
}

func (l *lazy[T]) get(make func() T) T {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.uses%500 == 0 {
		l.value = make() // the goroutines of the old one end with the test
	}
	l.uses++
	return l.value
}

// check counts what a goroutine believes that does the work of a request.
func (s *soak) check(kind, id int) {
	switch now() {
	case id:
		s.right[kind].Add(1)
	case 0:
		s.lost[kind].Add(1)
	default:
		s.wrong[kind].Add(1)
	}
}

// work does a job, some of it in another goroutine.
func (s *soak) work(kind int, j job) {
	s.check(kind, j.id)
	if j.id%3 == 0 {
		go func() {
			defer j.done()
			s.check(kind, j.id)
		}()
		return
	}
	j.done()
}

// pool is a channel that workers take jobs from.
func (s *soak) pool(ctx context.Context) chan job {
	return s.jobs.get(func() chan job {
		c := make(chan job, rand.IntN(3))
		for range 4 {
			go func() {
				for {
					select {
					case j := <-c:
						s.work(pooled, j)
					case <-ctx.Done():
						return
					}
				}
			}()
		}
		return c
	})
}

func (s *soak) request(ctx context.Context, id int) {
	var wg sync.WaitGroup
	j := job{id, wg.Done}
	for range 4 {
		wg.Add(1)
		switch kind := rand.IntN(kinds); kind {
		case child:
			go s.work(kind, j)
		case pooled:
			c := s.pool(ctx)
			select {
			case c <- j:
			default:
				go func() { c <- j }()
			}
		case dispatched:
			idle := s.idle.get(func() chan chan job {
				idle := make(chan chan job, 4)
				for range 4 {
					go func() {
						mine := make(chan job)
						for {
							select {
							case idle <- mine:
							case <-ctx.Done():
								return
							}
							select {
							case j := <-mine:
								s.work(kind, j)
							case <-ctx.Done():
								return
							}
						}
					}()
				}
				return idle
			})
			(<-idle) <- j
		case timer:
			time.AfterFunc(time.Duration(rand.IntN(20))*time.Microsecond, func() { s.work(kind, j) })
		case afterFunc:
			sub, cancel := context.WithCancel(ctx)
			context.AfterFunc(sub, func() { s.work(kind, j) })
			select {
			case s.pool(ctx) <- job{id, cancel}: // a worker cancels
			default:
				cancel()
			}
		case reused:
			c := s.channels.Get().(chan int)
			go func() { c <- id }()
			go func() {
				got := <-c
				s.work(kind, job{got, func() { s.channels.Put(c); wg.Done() }})
			}()
		case group:
			sem := make(chan bool, 2)
			for range 3 {
				wg.Add(1)
				sem <- true
				go func() {
					defer func() { <-sem; s.check(kind, id); wg.Done() }()
					s.check(kind, id)
				}()
			}
			wg.Done()
		case pull:
			p := s.pulled.get(func() *pulled {
				next, _ := iter.Pull(func(yield func(int) bool) {
					for yield(now()) {
					}
				})
				return &pulled{next: next}
			})
			p.mu.Lock()
			v, _ := p.next()
			p.mu.Unlock()
			if v != id {
				s.wrong[kind].Add(1)
			}
			s.check(kind, id)
			wg.Done()
		}
	}
	s.check(child, id)
	wg.Wait()
	s.check(child, id)
}

func TestSoak(t *testing.T) {
	requests := 40000
	if testing.Short() {
		requests = 4000
	}
	s := &soak{t: t}
	s.channels.New = func() any { return make(chan int, 1) }
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var wg sync.WaitGroup
	var next atomic.Int64
	for range 32 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				id := int(next.Add(1))
				if id > requests {
					return
				}
				run(id, func() { s.request(ctx, id) })
				if now() != 0 {
					t.Errorf("the server works for %d after it", now())
				}
				if id%1000 == 0 {
					runtime.GC() // the memory of entries is used again
				}
			}
		}()
	}
	wg.Wait()
	for k, name := range kindNames {
		t.Logf("%-24s right %6d lost %6d wrong %d", name, s.right[k].Load(), s.lost[k].Load(), s.wrong[k].Load())
		if n := s.wrong[k].Load(); n > 0 {
			t.Errorf("%s: %d times the wrong request", name, n)
		}
	}
	for _, k := range []int{child, timer, afterFunc, group, pull} {
		if n := s.lost[k].Load(); n > 0 {
			t.Errorf("%s: lost %d times", kindNames[k], n)
		}
	}
}
