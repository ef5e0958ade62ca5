// loop [ORDERS]: a program that goes on working until somebody ends it. Plain C# 6 without newer types, so that mono's compiler makes an assembly that .NET
// Core 3.1 and every later .NET run as it is.
//
// Says `ready orders=N` and then takes lines on its stdin: `count` is answered by `count N`, N being how often it has been round its loop; `leak MB` keeps
// that many megabytes more each second from then on; `exit` ends it. The end of its stdin is no reason to end.
using System;
using System.Collections.Generic;
using System.Threading;

// As many of them are alive as was asked for, from `ready` on; nothing else makes one.
public class Order4711
{
    public readonly int Number;
    public readonly string Customer;

    public Order4711(int number)
    {
        Number = number;
        Customer = "customer-" + number;
    }
}

public class LedgerBusy : Exception
{
    public LedgerBusy(string message) : base(message) { }
}

public static class Program
{
    static Order4711[] orders;
    static long rounds;
    static volatile int leakPerSecond;
    static readonly List<byte[]> leaked = new List<byte[]>();
    // Garbage of some age, so that a collection has work of every generation.
    static readonly Dictionary<int, string[]> recent = new Dictionary<int, string[]>();

    static long Burn(int steps)
    {
        long x = 1;
        for (int step = 1; step < steps; step++)
        {
            x = x * 31 + step;
            x ^= x >> 7;
        }
        return x;
    }

    static void Work()
    {
        long sum = 0;
        for (int number = 0; ; number++)
        {
            for (int made = 0; made < 100; made++)
            {
                recent[(number * 100 + made) % 5000] = new[] { "line", made.ToString(), new string('x', made) };
            }
            sum += Burn(200000);
            if (number % 20 == 0)
            {
                try
                {
                    throw new LedgerBusy("round " + number);
                }
                catch (LedgerBusy)
                {
                    sum++;
                }
            }
            Interlocked.Increment(ref rounds);
            Thread.Sleep(5);
        }
    }

    static void Leak()
    {
        while (true)
        {
            for (int megabyte = 0; megabyte < leakPerSecond; megabyte += 10)
            {
                byte[] kept = new byte[1024 * 1024];
                for (int page = 0; page < kept.Length; page += 4096)
                {
                    kept[page] = 1;
                }
                leaked.Add(kept);
            }
            Thread.Sleep(100);
        }
    }

    static void InBackground(ThreadStart work, string name)
    {
        var thread = new Thread(work);
        thread.Name = name;
        thread.IsBackground = true;
        thread.Start();
    }

    static void Say(string line)
    {
        Console.WriteLine(line);
        Console.Out.Flush();
    }

    public static void Main(string[] arguments)
    {
        int count = arguments.Length > 0 ? int.Parse(arguments[0]) : 4711;
        orders = new Order4711[count];
        for (int number = 0; number < count; number++)
        {
            orders[number] = new Order4711(number);
        }
        InBackground(Work, "worker");
        InBackground(Leak, "leak");
        Say("ready orders=" + count);
        for (string line = Console.ReadLine(); line != null; line = Console.ReadLine())
        {
            string[] words = line.Split(' ');
            switch (words[0])
            {
                case "count":
                    Say("count " + Interlocked.Read(ref rounds));
                    break;
                case "leak":
                    leakPerSecond = int.Parse(words[1]);
                    Say("leak " + leakPerSecond);
                    break;
                case "exit":
                    return;
                default:
                    Say("unknown " + line);
                    break;
            }
        }
        Thread.Sleep(Timeout.Infinite);
        GC.KeepAlive(orders);
    }
}
