package red

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Any course of operations leaves what a plain list would hold.
func TestWaitingAgainstAList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWaiting(1 << 20)
		if rapid.Bool().Draw(t, "collide") {
			w.index = make([]int32, 8) // tiny: chains are long and wrap around
		}
		var list []side // oldest first
		serial := uint64(0)
		draw := rapid.Custom(func(t *rapid.T) side {
			return side{
				trace: traceID(rapid.Uint64Range(1, 6).Draw(t, "trace")),
				key:   spanID(rapid.Uint64Range(1, 3).Draw(t, "key")),
			}
		})
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				s := draw.Draw(t, "side")
				serial++
				s.self, s.deadline = spanID(serial), time.Duration(serial)
				w.add(s)
				list = append(list, s)
			},
			"remove found": func(t *rapid.T) {
				s := draw.Draw(t, "side")
				if id, _ := w.find(&s.trace, &s.key, -1); id != 0 {
					removed := w.remove(id)
					i := slices.IndexFunc(list, func(o side) bool { return o.self == removed.self })
					if i < 0 {
						t.Fatalf("removed %v, which is not there", removed)
					}
					list = slices.Delete(list, i, i+1)
				}
			},
			"remove oldest": func(t *rapid.T) {
				if id := w.oldest(); id != 0 {
					if got := w.remove(id); got.self != list[0].self {
						t.Fatalf("oldest is %v, want %v", got.self, list[0].self)
					}
					list = list[1:]
				}
			},
			"": func(t *rapid.T) {
				if w.len() != len(list) {
					t.Fatalf("%d sides, want %d", w.len(), len(list))
				}
				var order []side
				for id := w.oldest(); id != 0; id = w.sides[id].next {
					order = append(order, w.sides[id])
				}
				if !slices.EqualFunc(order, list, func(a, b side) bool { return a.self == b.self }) {
					t.Fatalf("order differs from the list")
				}
				for trace := range uint64(7) {
					for key := range uint64(4) {
						s := side{trace: traceID(trace), key: spanID(key)}
						found := 0
						for id, slot := w.find(&s.trace, &s.key, -1); id != 0; id, slot = w.find(&s.trace, &s.key, slot) {
							found++
						}
						want := 0
						for _, o := range list {
							if o.trace == s.trace && o.key == s.key {
								want++
							}
						}
						if found != want {
							t.Fatalf("found %d of trace %d, key %d, want %d", found, trace, key, want)
						}
					}
				}
			},
		})
	})
}

func TestNames(t *testing.T) {
	n := newNames()
	a, b := n.acquire("a"), n.acquire("b")
	if a == b || a == 0 || n.acquire("") != 0 || n.acquire("a") != a {
		t.Fatalf("a is %d, b is %d", a, b)
	}
	n.release(a)
	if n.text(a) != "a" {
		t.Error("a is gone while it is held")
	}
	n.release(a)
	n.release(0)
	if c := n.acquire("c"); c != a || n.text(c) != "c" || n.text(0) != "" {
		t.Errorf("c is %d, want the number %d of a, which is free", c, a)
	}
	if len(n.ids) != 2 {
		t.Errorf("%d names, want 2", len(n.ids))
	}
}
