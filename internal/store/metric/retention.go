package metric

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/tsdb"

	"github.com/guanlan-io/guanlan/internal/store"
)

// retention decides which blocks to delete, over all tenants: by age against
// the clock (the engine would compare with the tenant's newest block, so that
// a tenant that fell silent would keep its data for ever), and by size, oldest
// first, against one bound for the whole folder.
//
// The engine asks for one tenant at a time; what the others hold is known from
// when they last asked. Tenants not opened by this process are swept by
// sweepDormant.
type retention struct {
	age      time.Duration
	maxBytes int64

	mu      sync.Mutex
	tenants map[store.Tenant]*holding
}

// holding is what a tenant has on disk.
type holding struct {
	blocks []blockInfo
	logs   int64 // write-ahead logs and head chunks, bytes
}

type blockInfo struct {
	id   ulid.ULID
	maxt int64 // milliseconds
	size int64
}

func newRetention(age time.Duration, maxBytes int64) *retention {
	return &retention{age: age, maxBytes: maxBytes, tenants: map[store.Tenant]*holding{}}
}

// choose notes the blocks of t and returns those of them to delete.
func (r *retention) choose(t store.Tenant, blocks []blockInfo, now time.Time) map[ulid.ULID]struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	chosen := map[ulid.ULID]struct{}{}
	oldest := now.Add(-r.age).UnixMilli()
	h := r.tenants[t]
	if h == nil {
		h = &holding{}
		r.tenants[t] = h
	}
	h.blocks = nil
	for _, b := range blocks {
		if b.maxt < oldest {
			chosen[b.id] = struct{}{}
		} else {
			h.blocks = append(h.blocks, b)
		}
	}
	if r.maxBytes <= 0 {
		return chosen
	}
	excess := -r.maxBytes
	type owned struct {
		blockInfo
		t store.Tenant
	}
	var all []owned
	for owner, h := range r.tenants {
		excess += h.logs
		for _, b := range h.blocks {
			excess += b.size
			all = append(all, owned{b, owner})
		}
	}
	slices.SortFunc(all, func(a, b owned) int {
		if a.maxt != b.maxt {
			return int(min(max(a.maxt-b.maxt, -1), 1))
		}
		return a.id.Compare(b.id)
	})
	for _, b := range all {
		if excess <= 0 {
			break
		}
		excess -= b.size
		if b.t == t {
			chosen[b.id] = struct{}{}
		}
	}
	h.blocks = slices.DeleteFunc(h.blocks, func(b blockInfo) bool { _, gone := chosen[b.id]; return gone })
	return chosen
}

// setLogs notes the size of a tenant's logs.
func (r *retention) setLogs(t store.Tenant, bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.tenants[t]
	if h == nil {
		h = &holding{}
		r.tenants[t] = h
	}
	h.logs = bytes
}

// blocksToDelete is asked by the engine at every reload of its blocks.
func (in *instance) blocksToDelete(blocks []*tsdb.Block) map[ulid.ULID]struct{} {
	infos := make([]blockInfo, 0, len(blocks))
	deletable := map[ulid.ULID]struct{}{}
	for _, b := range blocks {
		for _, p := range b.Meta().Compaction.Parents {
			deletable[p.ULID] = struct{}{} // merged into b: must not count twice
		}
	}
	for _, b := range blocks {
		m := b.Meta()
		if m.Compaction.Deletable {
			deletable[m.ULID] = struct{}{}
		}
		if _, gone := deletable[m.ULID]; gone {
			continue
		}
		infos = append(infos, blockInfo{m.ULID, m.MaxTime, b.Size()})
	}
	for id := range in.s.retention.choose(in.tenant, infos, time.Now()) {
		deletable[id] = struct{}{}
	}
	return deletable
}

// sweepDormant applies the retention to tenants that this process has not
// opened.
func (s *Store) sweepDormant(now time.Time) {
	entries, err := os.ReadDir(s.opts.Dir)
	if err != nil {
		s.opts.Logger.Warn("list tenants of the metric store", "err", err)
		return
	}
	for _, e := range entries {
		t, ok := parseTenantDir(e.Name())
		if !ok || !e.IsDir() {
			continue
		}
		if err := s.sweepTenant(t, filepath.Join(s.opts.Dir, e.Name()), now); err != nil {
			s.opts.Logger.Warn("apply the retention to metrics of a tenant", "tenant", t.String(), "err", err)
		}
	}
}

// doomed is the suffix that the engine, too, gives to blocks on their way out;
// it removes what is left of them when it opens the folder.
const doomed = ".tmp-for-deletion"

func (s *Store) sweepTenant(t store.Tenant, dir string, now time.Time) error {
	dormant := func() bool { return s.tenants[t] == nil && !s.closed }
	s.mu.RLock()
	ok := dormant()
	s.mu.RUnlock()
	if !ok {
		return nil
	}
	blocks, logs, err := holdings(dir)
	if err != nil {
		return err
	}
	s.retention.setLogs(t, logs)
	chosen := s.retention.choose(t, blocks, now)

	// Taken away under the lock over the tenants, so that none is opened with
	// a block half gone.
	var errs []error
	s.mu.Lock()
	if dormant() {
		for id := range chosen {
			path := filepath.Join(dir, id.String())
			errs = append(errs, os.Rename(path, path+doomed))
		}
	} else {
		chosen = nil
	}
	s.mu.Unlock()
	for id := range chosen {
		errs = append(errs, os.RemoveAll(filepath.Join(dir, id.String())+doomed))
	}
	return errors.Join(errs...)
}

// holdings reads what a tenant's folder holds.
func holdings(dir string) (blocks []blockInfo, logs int64, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, 0, err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		id, err := ulid.ParseStrict(e.Name())
		if err != nil {
			logs += dirSize(path)
			continue
		}
		var meta tsdb.BlockMeta
		raw, err := os.ReadFile(filepath.Join(path, "meta.json"))
		if err == nil {
			err = json.Unmarshal(raw, &meta)
		}
		if err != nil {
			continue // the engine reports it when it opens the tenant
		}
		blocks = append(blocks, blockInfo{id, meta.MaxTime, dirSize(path)})
	}
	return blocks, logs, nil
}

// dirSize is the size of all files below path, as far as they can be read.
func dirSize(path string) int64 {
	var n int64
	_ = filepath.WalkDir(path, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil
		}
		if info, err := e.Info(); err == nil {
			n += info.Size()
		}
		return nil
	})
	return n
}
