package metric

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/index"

	"github.com/guanlan-io/guanlan/internal/store"
)

// Database is one tenant of a Store in the terms of Prometheus' own packages,
// for those that are built on them: the HTTP API, scraping, rules. It is a
// storage.SampleAndChunkQueryable, ExemplarQueryable, Appendable and
// AppendableV2, and what the API needs to administer a TSDB.
//
// A Database costs nothing by itself. A tenant that does not exist reads as
// empty and is made by the first append; the zero Database is always empty. Errors wrap store.ErrUnavailable
// while the disk is full or the tenant is being reopened; appenders then
// return it from every call.
type Database struct {
	s *Store
	t store.Tenant
}

// Database returns the view of a tenant.
func (s *Store) Database(t store.Tenant) *Database { return &Database{s, t} }

// Dir is the tenant's folder.
func (d *Database) Dir() string {
	if d.s == nil {
		return ""
	}
	return filepath.Join(d.s.opts.Dir, tenantDir(d.t))
}

// read returns the engine for reading, nil for a tenant that does not exist.
func (d *Database) read() (*generation, error) {
	in, err := d.instance(false)
	if in == nil || err != nil {
		return nil, err
	}
	return in.read()
}

func (d *Database) instance(create bool) (*instance, error) {
	switch {
	case d.s != nil:
		return d.s.instance(d.t, create)
	case create:
		return nil, fmt.Errorf("write metrics: no tenant: %w", store.ErrInvalid)
	}
	return nil, nil
}

// Querier implements storage.Queryable.
func (d *Database) Querier(mint, maxt int64) (storage.Querier, error) {
	g, err := d.read()
	if err != nil {
		return nil, err
	}
	if g == nil {
		return storage.NoopQuerier(), nil
	}
	q, err := g.db.Querier(mint, maxt)
	if err != nil {
		g.reads.leave()
		return nil, err
	}
	return &querier{Querier: q, g: g}, nil
}

// ChunkQuerier implements storage.ChunkQueryable.
func (d *Database) ChunkQuerier(mint, maxt int64) (storage.ChunkQuerier, error) {
	g, err := d.read()
	if err != nil {
		return nil, err
	}
	if g == nil {
		return storage.NoopChunkedQuerier(), nil
	}
	q, err := g.db.ChunkQuerier(mint, maxt)
	if err != nil {
		g.reads.leave()
		return nil, err
	}
	return &chunkQuerier{ChunkQuerier: q, g: g}, nil
}

// ExemplarQuerier implements storage.ExemplarQueryable.
func (d *Database) ExemplarQuerier(ctx context.Context) (storage.ExemplarQuerier, error) {
	g, err := d.read()
	if err != nil {
		return nil, err
	}
	if g == nil {
		return noExemplars{}, nil
	}
	defer g.reads.leave() // exemplars are in memory
	return g.db.ExemplarQuerier(ctx)
}

// noExemplars is what a tenant without data has.
type noExemplars struct{}

func (noExemplars) Select(int64, int64, ...[]*labels.Matcher) ([]exemplar.QueryResult, error) {
	return nil, nil
}

// querier holds the engine open until it is closed.
type querier struct {
	storage.Querier
	g    *generation
	once sync.Once
}

func (q *querier) Close() error {
	defer q.once.Do(q.g.reads.leave)
	return q.Querier.Close()
}

type chunkQuerier struct {
	storage.ChunkQuerier
	g    *generation
	once sync.Once
}

func (q *chunkQuerier) Close() error {
	defer q.once.Do(q.g.reads.leave)
	return q.ChunkQuerier.Close()
}

// Appender implements storage.Appendable.
func (d *Database) Appender(ctx context.Context) storage.Appender {
	in, err := d.instance(true)
	if err != nil {
		return refusingAppender{err}
	}
	a, err := in.appender(ctx)
	if err != nil {
		return refusingAppender{err}
	}
	return a
}

// AppenderV2 implements storage.AppendableV2.
func (d *Database) AppenderV2(ctx context.Context) storage.AppenderV2 {
	in, err := d.instance(true)
	if err != nil {
		return refusingAppenderV2{err}
	}
	a, err := in.appenderV2(ctx)
	if err != nil {
		return refusingAppenderV2{err}
	}
	return a
}

// Admit returns an error that wraps store.ErrUnavailable when an append would
// be refused now, and ErrTenants when it would always be.
func (d *Database) Admit() error {
	if d.s != nil {
		if err := d.s.space.admit(); err != nil {
			return err
		}
	}
	in, err := d.instance(false)
	if in == nil || err != nil {
		return err
	}
	if g := in.gen.Load(); g == nil || g.broken.Load() {
		return in.unavailable()
	}
	return nil
}

// Metadata returns type, unit and help of the metric family of that name, or
// of all families when it is empty.
func (d *Database) Metadata(family string) (map[string]metadata.Metadata, error) {
	in, err := d.instance(false)
	if in == nil || err != nil {
		return nil, err
	}
	return in.families.get(family), nil
}

// Gather implements prometheus.Gatherer with the engine's own metrics.
func (d *Database) Gather() ([]*dto.MetricFamily, error) {
	g, err := d.read()
	if g == nil || err != nil {
		return nil, err
	}
	defer g.reads.leave()
	return g.metrics.Gather()
}

// Stats returns the cardinality of what is in memory by values of a label.
func (d *Database) Stats(label string, limit int) (*tsdb.Stats, error) {
	g, err := d.read()
	if err != nil {
		return nil, err
	}
	if g == nil {
		return &tsdb.Stats{IndexPostingStats: &index.PostingsStats{}}, nil
	}
	defer g.reads.leave()
	return g.db.Head().Stats(label, limit), nil
}

// WALReplayStatus tells how far the last opening has replayed the log.
func (d *Database) WALReplayStatus() (tsdb.WALReplayStatus, error) {
	g, err := d.read()
	if g == nil || err != nil {
		return tsdb.WALReplayStatus{}, err
	}
	defer g.reads.leave()
	return g.replay.Head.WALReplayStatus.GetWALReplayStatus(), nil
}

// BlockMetas describes the blocks on disk.
func (d *Database) BlockMetas() ([]tsdb.BlockMeta, error) {
	g, err := d.read()
	if g == nil || err != nil {
		return nil, err
	}
	defer g.reads.leave()
	return g.db.BlockMetas(), nil
}

// Delete marks samples as deleted; CleanTombstones frees their space.
func (d *Database) Delete(ctx context.Context, mint, maxt int64, ms ...*labels.Matcher) error {
	return d.change(func(db *tsdb.DB) error { return db.Delete(ctx, mint, maxt, ms...) })
}

// CleanTombstones rewrites blocks without what was deleted from them.
func (d *Database) CleanTombstones() error {
	return d.change(func(db *tsdb.DB) error { return db.CleanTombstones() })
}

// Snapshot writes all blocks to dir, and with head what is not yet in one.
func (d *Database) Snapshot(dir string, head bool) error {
	return d.change(func(db *tsdb.DB) error { return db.Snapshot(dir, head) })
}

// change does something that writes to disk.
func (d *Database) change(f func(*tsdb.DB) error) error {
	g, err := d.read()
	if g == nil || err != nil {
		return err
	}
	defer g.reads.leave()
	if err := d.s.space.admit(); err != nil {
		return err
	}
	return f(g.db)
}
