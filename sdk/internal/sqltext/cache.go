package sqltext

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
)

// Cache knows the queries of one database. It is safe for concurrent use.
//
// Most programs have a few hundred queries, which are read once. Some write
// values into them, so that each is new: those are not kept, as only what comes
// a second time is, and have few shapes, which are. So in both cases a query
// needs no memory, and the cache does not grow.
type Cache struct {
	dialect Dialect
	seed    maphash.Seed
	seen    [seenQueries]atomic.Uint64 // hashes of queries that were not there

	mu     sync.RWMutex
	young  map[string]*entry // by query
	old    map[string]*entry // what was young before
	shapes map[string]*Shape // by summary
}

type entry struct {
	query string
	shape *Shape
	text  string
}

const (
	// maxQueries is how many queries are kept; twice as many for a time.
	maxQueries = 512
	// maxQuery is the length of a query that is kept: with maxQueries it bounds
	// the cache to some MiB, and a longer one has values in it most likely.
	maxQuery = 4 << 10
	// maxShapes is how many shapes are kept. It is below the series that an
	// instrument has.
	maxShapes = 1000
	// seenQueries is a power of two.
	seenQueries = 1024
)

// NewCache makes a Cache for a database by its db.system.name.
func NewCache(system string) *Cache {
	return &Cache{dialect: DialectOf(system), seed: maphash.MakeSeed(), young: map[string]*entry{}, shapes: map[string]*Shape{}}
}

// Shape is the shape of a query. Queries of one shape have the same pointer, up
// to a number.
func (c *Cache) Shape(query string) *Shape {
	if e := c.find(query); e != nil {
		return e.shape
	}
	if len(query) > maxQuery {
		return c.read(query)
	}
	hash := maphash.String(c.seed, query) | 1
	if at := &c.seen[hash>>1%seenQueries]; at.Load() != hash {
		at.Store(hash)
		return c.read(query)
	}
	// The text lives on with the cache; the query may be a part of another.
	query = strings.Clone(query)
	e := &entry{query, c.read(query), c.dialect.Text(query)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.young) >= maxQueries {
		c.young, c.old = make(map[string]*entry, maxQueries), c.young
	}
	c.young[query] = e
	return e.shape
}

// Text is Dialect.Text of a query.
func (c *Cache) Text(query string) string {
	if e := c.find(query); e != nil {
		return e.text
	}
	return c.dialect.Text(query)
}

// find is nil for what is not kept. What is used stays.
func (c *Cache) find(query string) *entry {
	c.mu.RLock()
	e := c.young[query]
	older := false
	if e == nil && len(c.old) > 0 {
		e = c.old[query]
		older = e != nil && len(c.young) < maxQueries
	}
	c.mu.RUnlock()
	if older {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.young[e.query] = e // beyond the limit by as many as do this at once
	}
	return e
}

// read reads the shape of a query; it takes memory only for a new one.
func (c *Cache) read(query string) *Shape {
	r := reader{scanner: scanner{Dialect: c.dialect, src: query[:min(len(query), maxSummarized)]}}
	r.read()
	summary := r.out[:r.n]
	c.mu.RLock()
	s := c.shapes[string(summary)]
	c.mu.RUnlock()
	if s != nil {
		return s
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.shapes[string(summary)]; s != nil {
		return s
	}
	s = r.shape()
	if len(c.shapes) < maxShapes {
		c.shapes[s.Summary] = s
	}
	return s
}
