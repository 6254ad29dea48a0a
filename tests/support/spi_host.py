"""The host's side of an SPI bus, pin by pin, at a clock of its own."""

from xnorweave.hw.spi import SELECT_CYCLES


class SpiHost:
    """Drives ``sck``, ``mosi`` and ``cs_n`` of a device in simulation, mode 0.

    ``duty`` is the share of a period in which the clock is high.
    """

    def __init__(self, ctx, dut, period_s, cycle_s, *, duty=0.5):
        self._ctx, self._dut = ctx, dut
        self.period_s, self.cycle_s, self.duty = period_s, cycle_s, duty

    async def select(self):
        self._ctx.set(self._dut.cs_n, 0)
        await self._ctx.delay(SELECT_CYCLES * self.cycle_s)

    async def rest(self):
        await self._ctx.delay(4 * self.cycle_s)
        self._ctx.set(self._dut.cs_n, 1)
        await self._ctx.delay(SELECT_CYCLES * self.cycle_s)

    async def bits(self, byte, count=8):
        """Exchange the first bits of a byte."""
        value = 0
        for bit in range(7, 7 - count, -1):
            self._ctx.set(self._dut.mosi, byte >> bit & 1)
            await self._ctx.delay((1 - self.duty) * self.period_s)
            value = value << 1 | self._ctx.get(self._dut.miso)
            self._ctx.set(self._dut.sck, 1)
            await self._ctx.delay(self.duty * self.period_s)
            self._ctx.set(self._dut.sck, 0)
        return value

    async def exchange(self, data):
        """Exchange bytes while the device is selected."""
        await self.select()
        came = [await self.bits(byte) for byte in data]
        await self.rest()
        return came
