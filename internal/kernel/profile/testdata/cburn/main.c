/* Computes until it is killed. */
static volatile unsigned long sink;

__attribute__((noinline)) static unsigned long hot(unsigned long n)
{
	unsigned long x = n;
	for (unsigned long i = 0; i < n; i++)
		x = (x ^ i) * 0x9e3779b97f4a7c15UL;
	return x;
}

__attribute__((noinline)) void caller(void)
{
	sink += hot(1 << 20);
	sink++; /* no tail call */
}

int main(void)
{
	for (;;)
		caller();
}
