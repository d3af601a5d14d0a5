package query

import (
	"context"
)

const (
	defaultColumns = 120
	maxColumns     = 1000
)

func (e *engine) Heat(ctx context.Context, w Window, columns int) (*Heat, error) {
	ctx, done := e.begin(ctx)
	defer done()
	sel, err := selectOf(ctx, w, Traces)
	if err != nil {
		return nil, err
	}
	m, err := e.traces.Heat(ctx, sel, clamp(columns, defaultColumns, maxColumns))
	if err != nil {
		return nil, err
	}
	out := &Heat{Start: m.Start, StepNs: int64(m.Step), Cells: make([]HeatCell, 0, len(m.Cells)), Exact: m.Exact}
	if m.Step > 0 {
		out.Columns = int((w.End.Sub(m.Start) + m.Step - 1) / m.Step)
	}
	for _, c := range m.Cells {
		out.Cells = append(out.Cells, HeatCell(c))
		out.Columns = max(out.Columns, c.X+1)
	}
	return out, nil
}
