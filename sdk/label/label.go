// Package label makes the values of metric labels few. A label whose values come
// from outside, an address, a path, an amount, makes a series of each value; what
// is here puts such values into classes that are known beforehand or counted.
//
// Everything is safe for concurrent use and takes no memory for a value that it
// has seen, so that it can stand in the path of a request.
package label

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

const (
	// Other is the label of all that has none of its own.
	Other = "other"
	// Invalid is the label of what cannot be read.
	Invalid = "invalid"
)

// Buckets labels numbers by the range they are in.
type Buckets struct {
	bounds []float64
	labels []string // one more
}

// NewBuckets makes ranges between bounds, in whatever order they come. With 1, 10
// and 100 the labels are "<1", "1-10", "10-100" and ">=100". The lower bound is
// in a range, the upper one is in the next.
func NewBuckets(bounds ...float64) *Buckets {
	b := &Buckets{}
	for _, x := range bounds {
		if x == x { // NaN is no bound
			b.bounds = append(b.bounds, x)
		}
	}
	slices.Sort(b.bounds)
	b.bounds = slices.Compact(b.bounds)
	text := func(x float64) string { return strconv.FormatFloat(x, 'f', -1, 64) }
	for i, high := range b.bounds {
		if i == 0 {
			b.labels = append(b.labels, "<"+text(high))
			continue
		}
		b.labels = append(b.labels, text(b.bounds[i-1])+"-"+text(high))
	}
	if n := len(b.bounds); n > 0 {
		b.labels = append(b.labels, ">="+text(b.bounds[n-1]))
	} else {
		b.labels = []string{Other}
	}
	return b
}

// Of is the label of a number; Invalid of NaN.
func (b *Buckets) Of(v float64) string {
	if v != v {
		return Invalid
	}
	i := 0
	for i < len(b.bounds) && v >= b.bounds[i] { // few
		i++
	}
	return b.labels[i]
}

// Enum lets through the values that are known beforehand.
type Enum struct {
	allowed map[string]struct{}
	folded  atomic.Uint64
}

// NewEnum allows these values, as they are written.
func NewEnum(allowed ...string) *Enum {
	e := &Enum{allowed: make(map[string]struct{}, len(allowed))}
	for _, v := range allowed {
		e.allowed[v] = struct{}{}
	}
	return e
}

// Of is v when it is allowed, and Other when not.
func (e *Enum) Of(v string) string {
	if _, ok := e.allowed[v]; ok {
		return v
	}
	e.folded.Add(1)
	return Other
}

// Folded is how many times a value was not allowed.
func (e *Enum) Folded() uint64 { return e.folded.Load() }

const (
	// DefaultMost is how many values a Limiter keeps by default: a label with
	// a hundred values can still be looked at.
	DefaultMost = 100
	// MaxLength is how long a label is at most, in bytes. What is longer is no
	// name, and would be kept for ever.
	MaxLength = 128
)

// Limiter keeps the values that come first, and folds the others.
type Limiter struct {
	most   int
	mu     sync.RWMutex
	kept   map[string]string
	folded atomic.Uint64
}

// NewLimiter keeps that many different values; 0 is DefaultMost.
func NewLimiter(most int) *Limiter {
	if most <= 0 {
		most = DefaultMost
	}
	return &Limiter{most: most, kept: map[string]string{}}
}

// Of is v when it is among the values that came first, and Other when not.
func (l *Limiter) Of(v string) string { return limited(l, v) }

// limited takes memory only for a value that it begins to keep.
func limited[T string | []byte](l *Limiter, v T) string {
	if len(v) > MaxLength {
		l.folded.Add(1)
		return Other
	}
	l.mu.RLock()
	s, ok := l.kept[string(v)]
	full := len(l.kept) >= l.most
	l.mu.RUnlock()
	if ok {
		return s
	}
	if !full {
		l.mu.Lock()
		defer l.mu.Unlock()
		if s, ok := l.kept[string(v)]; ok {
			return s
		}
		if len(l.kept) < l.most {
			s = strings.Clone(string(v)) // v may be a part of something large
			l.kept[s] = s
			return s
		}
	}
	l.folded.Add(1)
	return Other
}

// Folded is how many times a value was folded. When it grows, the label hides
// something: give its values classes, or raise the limit.
func (l *Limiter) Folded() uint64 { return l.folded.Load() }

// Kept is how many values are kept.
func (l *Limiter) Kept() int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return len(l.kept)
}
