package load

import (
	"fmt"
	"runtime"
	"sync"

	"github.com/hybridtoken/hybridtoken/benchmarks/internal/measure"
)

// Cores returns contenders that do work so many times for each core: the first in one goroutine, on one
// core, the others in 1, 2, 4 and 8 goroutines a core. All take as long if nothing that they
// do is in another's way.
func Cores(times int, work func(i int)) []measure.Contender {
	batch := func(goroutines, times int) func(int) {
		return func(piece int) {
			var all sync.WaitGroup
			for g := range goroutines {
				all.Go(func() {
					from := piece*times + g*7919 // each its own part of the order
					for i := range times {
						work(from + i)
					}
				})
			}
			all.Wait()
		}
	}
	cores := runtime.GOMAXPROCS(0)
	list := []measure.Contender{{Name: "one", Work: batch(1, times)}}
	for _, each := range []int{1, 2, 4, 8} {
		list = append(list, measure.Contender{Name: fmt.Sprintf("%d-a-core", each), Work: batch(each*cores, times/each)})
	}
	return list
}
