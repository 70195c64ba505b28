package bootfs

// Firmware reads through a cache, and a sector that cannot be read makes it lose the page that the sector is in. OVMF's
// pages, seen with injected read errors, are counted from the start of the first table and from cluster 2. A volume of
// fewer clusters than firmware takes for a FAT32 is a test's, and too small for such pages.
const (
	tablePage = 32 << 10 // bytes of the first table
	dataPage  = 64 << 10 // bytes of the data region
)

func (v *volume) pages() (table, data int64) {
	if v.tiny() {
		return blockSize, blockSize
	}
	return tablePage, dataPage
}

func (v *volume) tiny() bool { return v.end < minClusters+2 }

// neighbours says who has something in each block of the device, and in each of the firmware's pages.
type neighbours struct{ blocks, tables, data []byte }

func (f *FS) neighbours() neighbours {
	v := &f.vol
	table, data := v.pages()
	n := neighbours{
		blocks: f.blocks(),
		tables: make([]byte, int64(v.end)*4/table+1),
		data:   make([]byte, (v.size-v.data)/data+1),
	}
	n.tables[0] |= rest // entries 0 and 1
	f.spans(func(first, last uint32, claim byte) {
		who := claim & (owners | alone)
		add(n.tables, v.tablePage(first), v.tablePage(last), who&owners)
		start, _ := v.dataPages(first)
		_, end := v.dataPages(last)
		add(n.data, start, end, who)
	})
	return n
}

// tablePage is the page of the first table that the entry of cluster c is in.
func (v *volume) tablePage(c uint32) int64 {
	if v.tiny() {
		return 4 * int64(c) / blockSize
	}
	return 4 * int64(c) / tablePage // a constant, which is divided by at once
}

// dataPages are the first and the last page that cluster c touches.
func (v *volume) dataPages(c uint32) (first, last int64) {
	start := v.offset(c) - v.data
	end := start + int64(v.cluster) - 1
	if v.tiny() {
		return start / blockSize, end / blockSize
	}
	return start / dataPage, end / dataPage
}
