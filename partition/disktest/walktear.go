package disktest

import (
	"fmt"
)

// sample makes seeded combinations of a large gap: all arrived, then by turns arrived in order up to a point, one
// alone, all but one, and random sets of several densities.
func (w *walk) sample(hurt bool) {
	var changed []int
	for i, g := range w.gap {
		if g.changed {
			changed = append(changed, i)
		}
	}
	n := len(w.gap)
	for k := 0; k < w.o.Samples && !w.stop.Load(); k++ {
		pick := make([]int, n)
		newest := func(i int) { pick[i] = len(w.gap[i].versions) }
		switch cut := w.rand.IntN(n); k % 5 {
		case 0:
			if k > 0 || hurt {
				for i := range cut {
					newest(i)
				}
				break
			}
			for i := range pick {
				newest(i)
			}
		case 1:
			newest(cut)
		case 2:
			for i := range pick {
				newest(i)
			}
			pick[cut] = 0
		default:
			density := []float64{0.05, 0.3, 0.7, 0.95}[w.rand.IntN(4)]
			for i := range pick {
				if len(w.gap[i].versions) > 0 && w.rand.Float64() < density {
					pick[i] = 1 + w.rand.IntN(len(w.gap[i].versions))
				}
			}
		}
		if len(changed) > 0 {
			newest(changed[w.rand.IntN(len(changed))])
		}
		if !hurt {
			w.emit(w.states(pick, -1, intact))
			continue
		}
		w.emit(w.states(pick, w.rand.IntN(n), damage(1+w.rand.IntN(2))))
	}
}

// tear makes the disks on which the sector that op wrote is neither old nor new, but a part of each.
func (w *walk) tear(op Op) {
	if w.o.Torn == nil || w.o.Block != unit || len(op.Data) != unit || op.Off%unit != 0 || !w.o.Torn(op) {
		return
	}
	i := w.at[op.Off]
	if !w.gap[i].changed {
		return
	}
	old := make([]byte, unit)
	w.durable.pages.read(old, op.Off)
	if n := len(w.gap[i].versions); n > 1 {
		old = w.gap[i].versions[n-2]
	}
	seen := map[string]bool{string(old): true, string(op.Data): true}
	for n := 1; n < unit; n++ {
		for _, head := range []bool{true, false} {
			data, name := append(append([]byte(nil), op.Data[:n]...), old[n:]...),
				fmt.Sprintf("the first %d bytes are new", n)
			if !head {
				data, name = append(append([]byte(nil), old[:n]...), op.Data[n:]...),
					fmt.Sprintf("from byte %d on it is new", n)
			}
			if seen[string(data)] {
				continue
			}
			seen[string(data)] = true
			for _, arrived := range []bool{true, false} {
				if !arrived && len(w.gap) == 1 || w.stop.Load() {
					break
				}
				pick := make([]int, len(w.gap))
				for k, g := range w.gap {
					if arrived {
						pick[k] = len(g.versions)
					}
				}
				states := w.states(pick, -1, intact)
				states[i].data, states[i].damage, states[i].tear = data, torn, name
				w.emit(states)
			}
		}
	}
}
