package event

import (
	"cmp"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/guanlan-io/guanlan/internal/store"
)

// rollup counts spans by tenant, minute of their end, service, quarter octave
// of duration and error. It answers the heat map and the table of services
// without touching rows.
//
// A minute stays open, in memory, while spans come for it; then it is appended
// to the file of its day. Files are only ever appended to, and counts for a
// minute add up over its records, so a late span reopens the minute without
// rewriting. freeze writes what is open into the checkpoint along with the
// length of every file: after a crash, restore cuts the files back to there
// and the journal brings the rest again, so every span counts once.
//
// All methods are safe for concurrent use.
type rollup struct {
	dir string

	mu      sync.Mutex
	open    map[minuteKey]*openMinute
	cells   int // in open
	files   map[int64]*dayFile
	names   map[string]string // interned services
	failure error             // of the last append, until one succeeds
	lost    uint64            // cells discarded because they could not be written
}

const (
	// maxOpenCells bounds the memory of open minutes, 24 bytes a cell: eight
	// hours of thirty services.
	maxOpenCells = 300_000
	// maxServicesPerMinute bounds the services of a tenant; spans of those
	// beyond count under the empty name.
	maxServicesPerMinute = 5_000
	// quietAfter is how long nothing must come for a minute to close.
	quietAfter = 2 * time.Minute
	// maxBand is the band of the longest duration an int64 holds.
	maxBand = 4*62 + 3
)

type minuteKey struct {
	tenant store.Tenant
	minute int64 // since the epoch
}

type openMinute struct {
	services map[string]*serviceCells
	touched  time.Time
}

// serviceCells is a sparse histogram, sorted by band and error.
type serviceCells struct{ cells []cell }

type cell struct {
	band   uint8
	failed bool
	count  uint64
	weight float64
}

// bandStarts[b] is the shortest duration of band b in nanoseconds.
var bandStarts = func() (starts [maxBand + 1]int64) {
	for b := range starts {
		starts[b] = int64(math.Ceil(math.Exp2(float64(b) / 4)))
		if b%4 == 0 {
			starts[b] = 1 << (b / 4)
		}
	}
	return starts
}()

// bandOf is the quarter octave of a duration; less than a nanosecond counts as
// one.
func bandOf(d int64) int {
	if d <= 1 {
		return 0
	}
	b := 4 * (bits.Len64(uint64(d)) - 1)
	for b < maxBand && d >= bandStarts[b+1] {
		b++
	}
	return b
}

// bandMiddle is the duration that stands for a band: off by at most 2^(1/8),
// 9 %.
func bandMiddle(b int) time.Duration {
	return time.Duration(math.Exp2((float64(b) + 0.5) / 4))
}

// tally collects the spans of one service of a batch, so that the rollup is
// locked once for them. The zero value is ready.
type tally struct {
	rollup  *rollup
	tenant  store.Tenant
	service string
	pending []tallied
}

type tallied struct {
	minute int64
	cell   cell
}

func (t *tally) span(r *rollup, tenant store.Tenant, service string, end, duration int64, failed bool, weight float64) {
	t.rollup, t.tenant, t.service = r, tenant, service
	t.pending = append(t.pending, tallied{floorDiv(end, int64(time.Minute)), cell{uint8(bandOf(duration)), failed, 1, weight}})
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// close gives what was collected to the rollup.
func (t *tally) close() {
	if len(t.pending) == 0 {
		return
	}
	t.rollup.add(t)
	t.pending = t.pending[:0]
}

func (r *rollup) add(t *tally) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	var last int64
	var into *serviceCells
	for _, p := range t.pending {
		if into == nil || p.minute != last {
			last = p.minute
			into = r.cellsOf(minuteKey{t.tenant, p.minute}, t.service, now)
		}
		r.cells += into.add(p.cell)
	}
	if r.cells > maxOpenCells {
		r.closeMinutes(now, maxOpenCells/2)
	}
}

func (r *rollup) cellsOf(k minuteKey, service string, now time.Time) *serviceCells {
	m := r.open[k]
	if m == nil {
		m = &openMinute{services: make(map[string]*serviceCells)}
		r.open[k] = m
	}
	m.touched = now
	s := m.services[service]
	if s == nil {
		if len(m.services) >= maxServicesPerMinute && service != "" {
			return r.cellsOf(k, "", now)
		}
		s = &serviceCells{}
		m.services[r.intern(service)] = s
	}
	return s
}

func (r *rollup) intern(service string) string {
	if s, ok := r.names[service]; ok {
		return s
	}
	if len(r.names) >= 2*maxServicesPerMinute {
		clear(r.names)
	}
	service = strings.Clone(service)
	r.names[service] = service
	return service
}

// add adds a cell and returns by how many the cells grew.
func (s *serviceCells) add(c cell) int {
	i, found := slices.BinarySearchFunc(s.cells, c, compareCells)
	if found {
		s.cells[i].count += c.count
		s.cells[i].weight += c.weight
		return 0
	}
	s.cells = slices.Insert(s.cells, i, c)
	return 1
}

func compareCells(a, b cell) int {
	if a.band != b.band {
		return cmp.Compare(a.band, b.band)
	}
	switch {
	case a.failed == b.failed:
		return 0
	case a.failed:
		return 1
	}
	return -1
}

// closeMinutes appends quiet minutes to their files, and more, oldest first,
// until at most keep cells are open. What cannot be written stays open; past
// twice the bound the oldest is discarded and counted.
func (r *rollup) closeMinutes(now time.Time, keep int) {
	keys := make([]minuteKey, 0, len(r.open))
	for k := range r.open {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b minuteKey) int { return cmp.Compare(a.minute, b.minute) })
	left := r.cells
	var closing []minuteKey
	for _, k := range keys {
		m := r.open[k]
		if left <= keep && now.Sub(m.touched) < quietAfter {
			continue
		}
		left -= m.size()
		closing = append(closing, k)
	}
	for day, ks := range byDay(closing) {
		if err := r.appendDay(day, ks); err != nil {
			r.failure = err
			if r.cells <= 2*maxOpenCells {
				continue
			}
			for _, k := range ks {
				r.lost += uint64(r.open[k].size())
			}
		} else {
			r.failure = nil
		}
		for _, k := range ks {
			r.cells -= r.open[k].size()
			delete(r.open, k)
		}
	}
}

func (m *openMinute) size() int {
	n := 0
	for _, s := range m.services {
		n += len(s.cells)
	}
	return n
}

const minutesPerDay = 24 * 60

func byDay(keys []minuteKey) map[int64][]minuteKey {
	days := make(map[int64][]minuteKey)
	for _, k := range keys {
		day := floorDiv(k.minute, minutesPerDay)
		days[day] = append(days[day], k)
	}
	return days
}

// visit calls yield with the cells of every service and minute of a tenant in
// minutes [from, to), or of one service only. A service and minute may come
// more than once. cells is only good during the call.
func (r *rollup) visit(tenant store.Tenant, from, to int64, only *string, yield func(minute int64, service string, cells []cell)) error {
	type span struct {
		day, length int64
	}
	r.mu.Lock()
	var files []span
	for day, f := range r.files {
		if day >= floorDiv(from, minutesPerDay) && day <= floorDiv(to-1, minutesPerDay) {
			files = append(files, span{day, f.length})
		}
	}
	for k, m := range r.open {
		if k.tenant != tenant || k.minute < from || k.minute >= to {
			continue
		}
		if only != nil {
			if s := m.services[*only]; s != nil {
				yield(k.minute, *only, s.cells)
			}
			continue
		}
		for service, s := range m.services {
			yield(k.minute, service, s.cells)
		}
	}
	r.mu.Unlock()
	for _, f := range files {
		if err := r.visitDay(f.day, f.length, minuteFilter{tenant, from, to, only}, yield); err != nil {
			return fmt.Errorf("read rollup: %w: %w", store.ErrUnavailable, err)
		}
	}
	return nil
}
